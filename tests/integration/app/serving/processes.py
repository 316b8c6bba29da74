"""`masktune api` as a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import httpx2

from tests.support.servers import free_port
from tests.support.waits import wait_until


class Replica:
    """A `masktune api` process that can be stopped and restarted at the same address."""

    def __init__(self, folder: Path, **settings: str) -> None:
        """`settings` are named without their prefix `MASKTUNE_`."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {"DATA_DIR": str(folder), "PORT": str(self.port), "ENGINE": "torch", "THREADS": "1"}
        given |= settings
        self._environment = os.environ | {f"MASKTUNE_{name}": value for name, value in given.items()}
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "masktune.cli", "api"], env=self._environment)

    def terminate(self) -> None:
        """Send SIGTERM; `wait` returns the exit code."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait at most 60 s for the process to end; return its exit code."""
        return self._process.wait(60)

    def replace(self, starting: threading.Event) -> int:
        """Replace the process; return the old one's exit code once the new one is ready.

        `starting` is set from the end of the old one until then.
        """
        self.terminate()
        code = self.wait()
        starting.set()
        self.start()
        self.await_ready()
        starting.clear()
        return code

    def await_ready(self) -> None:
        wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/readyz", timeout=5).is_success
        return False

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
