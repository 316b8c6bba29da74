"""Read archives and lists in a process of their own, within a budget by their bytes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from models.data.report import ImportRefused, ImportStopped, ProblemCode
from models.runtime.bounded import ProcessBudget, call_within

T = TypeVar("T")


def reading_budget(packed: int) -> ProcessBudget:
    """What it may take to unpack a part of an upload of `packed` bytes, and to read all of its lists.

    `benchmarks.list_budgets` shows that the largest honest lists take less than half of it.
    """
    return ProcessBudget(
        cpu_seconds=min(60 + 2 * packed // 10**6, 600),
        memory=min((512 << 20) + 64 * packed, 8 << 30),
    )


def read_within(
    budget: ProcessBudget, read: Callable[[Callable[[], bool]], T], should_stop: Callable[[], bool]
) -> T:
    """What `read` makes of an archive or a list, in a process of its own.
    It is given a function to be called before each step. Raises `ImportRefused` beyond the budget,
    `ImportStopped`, and what `read` raises."""

    def should_stop_before_step() -> bool:
        budget.start_step()
        return should_stop()

    try:
        return call_within(budget, partial(read, should_stop_before_step))
    except BrokenProcessPool:
        if should_stop():  # whoever stops this process may have ended the other one first
            raise ImportStopped from None
        excess = f"more than {budget.cpu_seconds} s of CPU time, or crash what reads them"
    except MemoryError:
        excess = f"more than {budget.memory >> 20} MiB of memory"
    raise ImportRefused(
        ProblemCode.TOO_COSTLY,
        f"the archive or its lists take {excess}, which is the bound for an upload of this size: split the "
        "data set, or leave columns out",
    )
