"""A child and everything it starts end together."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from worker.process_tree import ChildProcess, marked

Wait = Callable[[Callable[[], bool], float], None]

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


def test_a_family_that_minds_no_signal_is_gone_when_end_returns(wait_until: Wait) -> None:
    child = start(FAMILY)
    wait_until(lambda: len(marked(child.mark)) == 3, 20)
    child.end(0.1)
    assert marked(child.mark) == []
    assert child.returncode == -signal.SIGKILL


def test_orphans_of_a_child_that_was_killed_are_found(wait_until: Wait) -> None:
    child = start(FAMILY)
    wait_until(lambda: len(marked(child.mark)) == 3, 20)
    os.kill(child.pid, signal.SIGKILL)
    assert lines_of(child) in ([], [b"ready"])
    assert len(marked(child.mark)) == 2
    child.end(1.0)
    assert marked(child.mark) == []
