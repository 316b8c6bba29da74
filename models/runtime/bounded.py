"""A budget of CPU time and memory, and calls in a process of their own within it. Does not import torch."""

from __future__ import annotations

import errno
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from models.runtime.memory import limited_memory

T = TypeVar("T")

FORK = multiprocessing.get_context("fork")
"""A fresh process would import for half a second first, and could be sent nothing that is not pickled."""


@dataclass(frozen=True)
class ProcessBudget:
    """What a process may take: CPU time for each step, give or take a second, and bytes of address space."""

    cpu_seconds: int
    memory: int

    def start_step(self) -> None:
        """From now on, this process may take the CPU time of one step; the kernel ends it beyond that."""
        until = round(time.process_time()) + self.cpu_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def call_within(budget: ProcessBudget, function: Callable[[], T]) -> T:
    """Call `function`, as one step unless it starts others, in a forked process, and return what it returns.

    Raises `MemoryError` beyond the memory, `BrokenProcessPool` beyond the CPU time or if it crashes, and what
    `function` raises.
    """
    with forked(1, partial(_call_within, budget, function)) as pool:
        outcome: T = pool.submit(call_inherited).result()
        return outcome


def forked(processes: int, function: Callable[..., Any]) -> ProcessPoolExecutor:
    """Forked processes that inherit `function`, unpickled: `call_inherited`, submitted to them, calls it."""
    return ProcessPoolExecutor(processes, mp_context=FORK, initializer=_inherit, initargs=(function,))


def call_inherited(*arguments: Any) -> Any:
    """In a process that is `forked`."""
    return _inherited(*arguments)


_inherited: Callable[..., Any]


def _inherit(function: Callable[..., Any]) -> None:
    """Have the process end by SIGTERM, for which a job's process has a handler, and leave no core."""
    global _inherited
    _inherited = function
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _call_within(budget: ProcessBudget, function: Callable[[], T]) -> T:
    budget.start_step()
    try:
        with limited_memory(budget.memory):
            return function()
    except OSError as error:
        if error.errno == errno.ENOMEM:  # of `mmap`, say
            raise MemoryError from error
        raise
