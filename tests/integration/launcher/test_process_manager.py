"""Parts that belong together, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.process_manager import Process, ProcessFailed, ProcessManager

pytestmark = pytest.mark.faults

PYTHON = (sys.executable, "-S", "-c")
LASTING = "import signal; signal.pause()"
RECORD = "import os, sys, signal; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True)\n"
"""The process notes its id in a file."""
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + RECORD + "while True: signal.pause()"
)


def process(code: str, *arguments: str, grace: float = 5.0) -> Process:
    return Process("worker", (*PYTHON, code, *arguments), dict(os.environ), grace=grace)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def _soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_part_that_ends_before_all_are_up_ends_the_rest() -> None:
    async def run() -> None:
        await ProcessManager((process("raise SystemExit(3)"), process(LASTING)), say=print).run()

    with pytest.raises(ProcessFailed, match=r"the worker did not start \(exit code 3\)"):
        asyncio.run(run())


def test_a_crashed_part_is_started_again_and_told_of(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, sys, signal; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True); signal.pause()"
    )
    said: list[str] = []

    async def run() -> None:
        manager = ProcessManager((process(code, str(pids)),), said.append)
        manager.up.set()
        running = asyncio.create_task(manager.run())
        await _soon(lambda: pids.exists() and len(pids.read_text().split()) == 1)
        os.kill(int(pids.read_text()), signal.SIGKILL)
        await _soon(lambda: len(pids.read_text().split()) == 2)
        manager.stop.set()
        await running

    asyncio.run(run())
    assert said == ["the worker ended (signal 9); restarting it in 0.5 s"]
    assert not any(alive(int(pid)) for pid in pids.read_text().split())


def test_a_part_that_does_not_end_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def run() -> None:
        manager = ProcessManager((process(STUBBORN, str(pids), grace=0.2), process(LASTING)), say=print)
        running = asyncio.create_task(manager.run())
        await _soon(lambda: pids.exists() and pids.read_text().endswith("\n"))
        manager.stop.set()
        await running

    asyncio.run(run())
    assert not alive(int(pids.read_text()))


def test_a_tied_process_ends_with_its_parent() -> None:
    code = (
        "import os, sys, subprocess, signal\n"
        "tied = 'from launcher.startup import end_with_parent; import signal; '\\\n"
        "    'end_with_parent(); signal.pause()'\n"
        "child = subprocess.Popen([sys.executable, '-c', tied], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True); signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
        asyncio.run(_soon(lambda: not alive(child)))
