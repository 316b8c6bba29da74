"""Real brokers that end with the test that starts them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.machine import needs
from tests.support.servers import free_port, wait_for_port


@contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a separate redis-server, which the test may kill. Yields (address, process)."""
    needs("redis-server")
    port = free_port()
    where = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
    process = subprocess.Popen(["redis-server", *where, "--save", "", *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, "Redis")
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.wait()
