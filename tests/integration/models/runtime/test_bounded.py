"""A call within a budget returns or raises what the function does, and takes no process along."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

import pytest

from models.data.report import ImportRefused, ProblemCode
from models.runtime.bounded import ProcessBudget, call_within
from tests.support.misbehaviour import crash, swell

BUDGET = ProcessBudget(cpu_seconds=1, memory=64 << 20)


class PanicException(BaseException):
    """Has no module that it could be imported from."""

    __module__ = "pyo3_runtime"


def panic() -> None:
    raise PanicException("PyObject pointer is null")


def refuse() -> None:
    raise ImportRefused(ProblemCode.BAD_LIST, "the list has no rows")


def test_a_call_has_a_process_of_its_own_and_returns_what_the_function_returns() -> None:
    assert call_within(BUDGET, os.getpid) != os.getpid()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("function", "error"), [(swell, MemoryError), (crash, BrokenProcessPool), (panic, BrokenProcessPool)]
)
def test_a_call_that_swells_or_crashes_raises(function: Callable[[], None], error: type[Exception]) -> None:
    with pytest.raises(error):
        call_within(BUDGET, function)


def test_what_the_function_raises_is_raised() -> None:
    with pytest.raises(ImportRefused, match="has no rows") as raised:
        call_within(BUDGET, refuse)
    assert raised.value.problem.code is ProblemCode.BAD_LIST


def test_each_step_has_the_cpu_time_of_one() -> None:
    def take_two_steps() -> tuple[int, int]:
        BUDGET.start_step()
        first, _ = resource.getrlimit(resource.RLIMIT_CPU)
        while time.process_time() < 0.51:
            pass
        BUDGET.start_step()
        second, _ = resource.getrlimit(resource.RLIMIT_CPU)
        return first, second

    first, second = call_within(BUDGET, take_two_steps)
    assert second > first
