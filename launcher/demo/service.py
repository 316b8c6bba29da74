"""A service of the demo's own, which ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class ServiceFailed(Exception):
    """`masktune serve` ended before it was ready."""


@contextlib.contextmanager
def running_service(folder: Path, log: Path) -> Iterator[str]:
    """Run `masktune serve` on a free port with its data in `folder`. Yields its address; stops it on exit."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "masktune.cli",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(folder / "var"),
                "--tied",
            ],
            stdin=subprocess.PIPE,  # held open: the service ends when this process does
            stdout=subprocess.PIPE,
            stderr=file,
            env=_clean_environment(),
            cwd=folder,  # away from any .env file of the user
            text=True,
            start_new_session=True,
        )
        try:
            yield _address(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise ServiceFailed(f"the service did not start; see {log}")


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings that would point the demo at a real database."""
    environment = {name: setting for name, setting in os.environ.items() if not name.startswith("MASKTUNE_")}
    here = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    return environment
