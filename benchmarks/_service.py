"""Run the service as a process for benchmarks, with the given settings and no others from this shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, with only the given `MASKTUNE_…` settings: `environment(THREADS="1")`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
    return ours | {f"MASKTUNE_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}


def leave_on_sigterm() -> None:
    """Make SIGTERM end this process through its `finally` blocks, and so everything that it has started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Run `masktune serve` on a free port with its data in `folder`/data; yields its address.

    The service and everything it started end with the block. Raises RuntimeError if it does not start.
    """
    leave_on_sigterm()
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "masktune.cli", "serve", "--port", "0"],
            cwd=folder,
            env=environment(DATA_DIR=str(folder / "data"), **settings),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield start_address(process)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def start_address(process: subprocess.Popen[str]) -> str:
    """The address that a starting `masktune serve` prints. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise RuntimeError("the service ended before it was ready")
