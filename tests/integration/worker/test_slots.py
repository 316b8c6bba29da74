"""The slots of a worker find jobs by themselves, wake, run side by side, and outlive a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.tables import JobRow
from core.tracing import Attempt, Tracing
from masktune.contract.vocabulary import JobState
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.slots import running_slots

AddJob = Callable[..., str]
JobOf = Callable[[str], JobRow]

FAILED = [("say", {"type": "failed", "error": {"detail": "enough"}, "retry": False})]
"""The script of a child that ends its job at once."""


def variant(runtime: Runtime, **fields: Any) -> Runtime:
    return Runtime(**{**vars(runtime), **fields})


def test_an_idle_slot_finds_a_job_that_nobody_told_it_of(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    with running_slots(runtime, wait=0.05):
        job_id = add_job(FAILED)
        wait_until(lambda: job_of(job_id).state.ended)


def test_a_notification_ends_the_wait(runtime: Runtime, add_job: AddJob, job_of: JobOf) -> None:
    first = add_job(FAILED)
    with running_slots(runtime, wait=600):
        wait_until(lambda: job_of(first).state.ended)  # the slot looks once more, or waits
        job_id = add_job(FAILED)
        runtime.wakeup.call()
        wait_until(lambda: job_of(job_id).state.ended)


def test_every_slot_runs_a_job_and_stopping_gives_all_of_them_back(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    settings = runtime.settings.model_copy(update={"worker_slots": 3})
    started = ("say", {"type": "stage_started", "stage": "erm"})
    jobs = [add_job([started, ("sleep", 600)]) for _ in range(3)]
    with running_slots(variant(runtime, settings=settings), wait=0.05):
        wait_until(lambda: all(job_of(job).stage is not None for job in jobs))
    assert [job_of(job).state for job in jobs] == [JobState.QUEUED] * 3


class FailingTracing(Tracing):
    """Raises at the first attempt: a fault that no supervisor sees."""

    attempts = 0

    @contextmanager
    def attempt(self, job: JobRow) -> Iterator[Attempt]:
        self.attempts += 1
        if self.attempts == 1:
            raise RuntimeError("a fault of ours")
        with super().attempt(job) as attempt:
            yield attempt


def test_a_slot_outlives_a_fault_of_ours(
    runtime: Runtime,
    add_job: AddJob,
    job_of: JobOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost, job_id = add_job(FAILED), add_job(FAILED)
    with running_slots(variant(runtime, tracing=FailingTracing()), wait=0.05):
        wait_until(lambda: job_of(job_id).state.ended)
    assert job_of(lost).state is JobState.RUNNING  # until its lease ends and the sweep queues it again
    assert "slot 0 failed; it goes on" in caplog.text
