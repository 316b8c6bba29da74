"""Parts that belong together, with real processes."""

from __future__ import annotations

import asyncio
import os
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
