"""A child and everything it starts end together."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waits import wait_until
from worker.child_process import ChildProcess, marked

STRAY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
FAMILY = f"""
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", {STRAY!r}], start_new_session=True)
subprocess.Popen([sys.executable, "-c", {STRAY!r}])
print("ready", flush=True)
time.sleep(600)
"""


def start(program: str) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", program], environment=os.environ)


def lines_of(child: ChildProcess) -> list[bytes]:
    """Everything it writes, to its end."""
    found: list[bytes] = []
    ended = False
    while not ended:
        lines, ended = child.read(1.0)
        found += lines
    return found


def test_lines_come_whole_and_none_is_lost_at_the_end() -> None:
    child = start("for i in range(20000): print(i)")
    assert lines_of(child) == [str(i).encode() for i in range(20000)]
    child.end(1.0)
    assert child.returncode == 0


def test_what_is_sent_arrives() -> None:
    child = start("print(input().upper())")
    child.send(b"hello")
    assert lines_of(child) == [b"HELLO"]
    child.send(b"too late")
    child.end(1.0)


def test_what_a_child_does_not_take_holds_up_nobody_and_arrives_when_it_does() -> None:
    """It may be stopped, or hang, and its pipe is full then."""
    child = start("import os, signal; os.kill(os.getpid(), signal.SIGSTOP); print(len(input()), input())")
    lines = b"x" * 200_000 + b"\nbehind"
    sending = threading.Thread(target=child.send, args=(lines,), daemon=True)
    sending.start()
    wait_until(lambda: b"State:\tT" in Path(f"/proc/{child.pid}/status").read_bytes())
    sending.join(30)
    assert not sending.is_alive()
    assert child.read(0.0) == ([], False)
    os.kill(child.pid, signal.SIGCONT)
    assert lines_of(child) == [b"200000 behind"]
    child.end(1.0)


def test_a_family_that_minds_no_signal_is_gone_when_end_returns() -> None:
    child = start(FAMILY)
    wait_until(lambda: len(marked(child.mark)) == 3)
    child.end(0.1)
    assert marked(child.mark) == []
    assert child.returncode == -signal.SIGKILL


def test_orphans_of_a_child_that_was_killed_are_found() -> None:
    child = start(FAMILY)
    wait_until(lambda: len(marked(child.mark)) == 3)
    os.kill(child.pid, signal.SIGKILL)
    assert lines_of(child) in ([], [b"ready"])
    assert len(marked(child.mark)) == 2
    child.end(1.0)
    assert marked(child.mark) == []


@contextmanager
def without_descriptors() -> Iterator[None]:
    """This process can open nothing while the block runs (EMFILE)."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_family_is_awaited_that_cannot_be_looked_for_at_once() -> None:
    child = start(FAMILY)
    wait_until(lambda: len(marked(child.mark)) == 3)
    ending = threading.Thread(target=child.end, args=(0.1,))
    with without_descriptors():
        ending.start()
        ending.join(0.5)
        assert ending.is_alive(), "nobody knows yet that all are gone"
    ending.join(30)
    assert marked(child.mark) == []


def test_a_child_that_cannot_be_watched_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    name = f"TEST={uuid.uuid4().hex}"
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="too many"):
        ChildProcess(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            environment=os.environ | dict([name.split("=")]),
        )
    assert not any(name.encode() in _environment(entry) for entry in Path("/proc").iterdir())
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def _environment(entry: Path) -> list[bytes]:
    try:
        return (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
