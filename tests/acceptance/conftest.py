"""Real services in processes of their own, and the proof that they leave none behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
MARK = "MASKTUNE_TEST_MARK"


@dataclass
class Processes:
    """Starts `masktune` commands. What they and their children start carries a mark in its environment."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def masktune(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start the command with these settings and no others, but for one thread a training, and torch.

        As many files of tests run side by side as there are cores, and two trainings of two threads
        each on two cores take twice as long as with one. A graph for each model that is asked once
        would take as long as the model's training.
        """
        settings = {"THREADS": "1", "ENGINE": "torch"} | settings
        log = (self.folder / f"{arguments[0]}.log").open("w")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            cwd=self.folder,
            env=ours
            | {f"MASKTUNE_{name}": value for name, value in settings.items()}
            | {MARK: self.mark, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self.started.append(process)
        return process

    def left(self) -> list[str]:
        """The command lines of what still runs."""
        found = []
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and self.mark.encode() in (process / "environ").read_bytes():
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append(f"{process.name} {command}")
        return found

    def pid_of(self, *words: str) -> int:
        """The process whose command line has all of these words."""
        (found,) = (line for line in self.left() if all(word in line.split() for word in words))
        return int(found.split()[0])

    def wait_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s; still there: {self.left()}"
            time.sleep(0.05)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with started(tmp_path) as made:
        yield made


@contextmanager
def started(folder: Path) -> Iterator[Processes]:
    """What is started in here is ended at the end, and nothing may be left of it."""
    made = Processes(folder)
    try:
        yield made
    finally:
        _end(made)


def _end(made: Processes) -> None:
    for process in made.started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in made.started:
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    left = made.left()
    for line in left:
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    assert left == [], "processes were left behind"


def address(serve: subprocess.Popen[str]) -> str:
    """Where `masktune serve` says that it is."""
    assert serve.stdout is not None
    for line in serve.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise AssertionError("the service ended before it was ready")


def answers(url: str, path: str = "/readyz") -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}{path}", trust_env=False, timeout=30).status_code == 200
    return False


@contextmanager
def compose_stack(name: str, environment: dict[str, str]) -> Iterator[None]:
    """`docker compose up` under a project of its own; its volumes are removed at the end."""

    def compose(*arguments: str) -> None:
        command = ["docker", "compose", "--project-name", name, *arguments]
        subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)

    try:
        compose("up", "--build", "--detach", "--wait", "--wait-timeout", "180")
        yield
    finally:
        compose("down", "--volumes", "--timeout", "20")


def torch_index() -> dict[str, str]:
    """Where PyTorch's own index cannot be reached, the image takes what the package registry has."""
    try:
        socket.create_connection(("download.pytorch.org", 443), timeout=3).close()
    except OSError:
        return {"TORCH_INDEX": ""}
    return {}
