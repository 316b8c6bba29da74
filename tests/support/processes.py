"""Real services in separate processes, with a check that they leave no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from tests.support.waits import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
MARK = "MASKTUNE_TEST_MARK"


@dataclass
class Processes:
    """Starts `masktune` commands. All their descendants carry a mark in their environment."""

    folder: Path
    command: tuple[str, ...] = (sys.executable, "-m", "masktune.cli")
    pythonpath: str = str(ROOT)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def masktune(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start the command with these settings only, plus one thread per training, the torch engine, and no
        spare child.

        There are as many parallel test files as cores, and on two cores, two trainings with two threads each
        take twice as long as with one. Exporting a graph for a model that answers a single request would take
        as long as training the model. A spare child, which costs seconds of a processor after each job, saves
        none where the next job waits already.
        """
        settings = {"THREADS": "1", "ENGINE": "torch", "SPARE_CHILDREN": "0"} | settings
        log = (self.folder / f"{arguments[0]}.log").open("w")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
        process = subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.folder,
            env=ours
            | {f"MASKTUNE_{name}": value for name, value in settings.items()}
            | {MARK: self.mark, "PYTHONPATH": self.pythonpath},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.started.append(process)
        return process

    def left(self) -> list[str]:
        """The pids and command lines of the marked processes that are still running."""
        found = []
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and self.mark.encode() in (process / "environ").read_bytes():
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append(f"{process.name} {command}")
        return found

    def pid_of(self, *words: str) -> int:
        """The pid of the one process whose command line has all of these words."""
        (found,) = (line for line in self.left() if all(word in line.split() for word in words))
        return int(found.split()[0])

    def wait_until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition, lambda: f"still there: {self.left()}")


@contextmanager
def started(processes: Processes) -> Iterator[Processes]:
    """End all started processes when the block ends, and assert that none is left."""
    try:
        yield processes
    finally:
        _end(processes)


def _end(made: Processes) -> None:
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in made.started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    left = made.left()
    for line in left:
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert left == [], f"processes were left behind: {left}"


def address(serve: subprocess.Popen[str]) -> str:
    """The address that `masktune serve` prints."""
    assert serve.stdout is not None
    for line in serve.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise AssertionError("the service ended before it was ready")


def answers(url: str, path: str = "/readyz") -> bool:
    with suppress(httpx2.TransportError):
        return httpx2.get(f"{url}{path}", trust_env=False, timeout=30).status_code == 200
    return False
