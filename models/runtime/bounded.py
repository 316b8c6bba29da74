"""A budget of CPU time and memory, and calls in a process of their own within it; memory that runs out.
Does not import torch: an import job runs without it."""

from __future__ import annotations

import errno
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

_TEXTS = (
    "DefaultCPUAllocator",  # main memory
    "CUDA error: out of memory",  # a full GPU, outside torch's allocator: the context, pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",  # the same, in a library's handle or workspace
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Parts of the messages of torch's RuntimeErrors for which it has no class of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the host has no memory left."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


@contextmanager
def limited_memory(extra: int) -> Iterator[None]:
    """Let the whole process take `extra` bytes of address space at most, beyond those it has: MemoryError.

    For code that decodes what a stranger sent and cannot say beforehand how much it will be. Without Linux's
    `/proc` there is no bound.
    """
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    size = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, size + extra) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


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
        return cast(T, pool.submit(call_inherited).result())


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
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # Rust code's, often without memory: cannot be unpickled
            raise BrokenProcessPool(str(error)) from None
        raise
