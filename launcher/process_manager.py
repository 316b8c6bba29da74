"""Child processes that belong together: started together, restarted after a crash, ended together.

Each is tied to this process by its standard input, a pipe that nobody writes to: when this process
ends, even by SIGKILL, the pipe closes and the child ends too.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

FIRST_WAIT = 0.5
"""Seconds before a crashed process is restarted; doubled after each crash."""
LONGEST_WAIT = 30.0
STEADY = 60.0
"""Seconds of uptime after which the restart delay is reset."""


class ProcessFailed(Exception):
    """A process ended before all of them were up; restarting it would not help."""


@dataclass(frozen=True)
class Process:
    """A process to keep running. `grace`: seconds between SIGTERM and SIGKILL."""

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    inherited: tuple[int, ...] = ()
    grace: float = 15.0


@dataclass(frozen=True)
class ProcessManager:
    """Keeps processes running until `stop` is set. `say` receives messages for the user."""

    processes: Sequence[Process]
    say: Callable[[str], None]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the owner once every process is working."""

    async def run(self) -> None:
        """Run until `stop`. Raises `ProcessFailed` if a process ends before `up`. None outlives this call."""
        try:
            async with asyncio.TaskGroup() as group:
                for process in self.processes:
                    group.create_task(self._keep_running(process))
        except* ProcessFailed as failed:
            raise failed.exceptions[0] from None

    async def _keep_running(self, process: Process) -> None:
        wait = FIRST_WAIT
        while not self.stop.is_set():
            started = time.monotonic()
            code = await self._run_once(process)
            if self.stop.is_set():
                return
            if not self.up.is_set():
                raise ProcessFailed(f"the {process.name} did not start ({_ending(code)})")
            if time.monotonic() - started > STEADY:
                wait = FIRST_WAIT
            self.say(f"the {process.name} ended ({_ending(code)}); restarting it in {wait:g} s")
            await _first_of(self.stop.wait(), asyncio.sleep(wait))
            wait = min(wait * 2, LONGEST_WAIT)

    async def _run_once(self, process: Process) -> int:
        child = await asyncio.create_subprocess_exec(
            *process.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=sys.stderr.fileno(),  # standard output is reserved for the messages of `say`
            env=process.environment,
            pass_fds=process.inherited,
            # In its own session: Ctrl-C reaches only this process, which then ends the others in order.
            start_new_session=True,
        )
        try:
            await _first_of(self.stop.wait(), child.wait())
        finally:
            await _end(child, process.grace)
        assert child.returncode is not None
        return child.returncode


async def _end(process: asyncio.subprocess.Process, grace: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _first_of(*awaited: Coroutine[object, object, object]) -> None:
    """Wait until one of them is done; cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
