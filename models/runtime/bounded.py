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
    initargs = (budget, function)
    with ProcessPoolExecutor(1, mp_context=FORK, initializer=_set_call, initargs=initargs) as pool:
        outcome: T = pool.submit(_call).result()
        return outcome


def prepare_fork() -> None:
    """Have a forked process end by SIGTERM, for which a job's process has a handler, and leave no core."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


_budget: ProcessBudget
_function: Callable[[], Any]


def _set_call(budget: ProcessBudget, function: Callable[[], Any]) -> None:
    global _budget, _function
    _budget, _function = budget, function
    prepare_fork()


def _call() -> Any:
    _budget.start_step()
    try:
        with limited_memory(_budget.memory):
            return _function()
    except OSError as error:
        if error.errno == errno.ENOMEM:  # of `mmap`, say
            raise MemoryError from error
        raise
