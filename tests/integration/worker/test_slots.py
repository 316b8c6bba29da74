"""The slots of a worker and those for imports: they find jobs, wake, run side by side and outlive faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from core.settings import Settings
from core.tables import JobRow
from core.tracing import Attempt, Tracing
from masktune.contract.vocabulary import JobKind, JobState
from tests.integration.worker.conftest import AddJob, JobOf, with_settings
from tests.integration.worker.supervisor.test_supervisor import processes_of_children
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.slots import running_slots, slots_of

FAILED = [("say", {"type": "failed", "error": {"detail": "enough"}, "retry": False})]
"""The script of a child that ends its job at once."""


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
    started = ("say", {"type": "stage_started", "stage": "erm"})
    jobs = [add_job([started, ("sleep", 600)]) for _ in range(3)]
    with running_slots(with_settings(runtime, worker_slots=3), wait=0.05):
        wait_until(lambda: all(job_of(job).stage is not None for job in jobs))
    for row in map(job_of, jobs):
        assert (row.state, row.worker, row.lease_until, row.crashes) == (JobState.QUEUED, None, None, 0)
    assert processes_of_children() == []


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
    with running_slots(replace(runtime, tracing=FailingTracing()), wait=0.05):
        wait_until(lambda: job_of(job_id).state.ended)
    assert job_of(lost).state is JobState.RUNNING  # until its lease ends and the sweep queues it again
    assert "slot 0 failed; it goes on" in caplog.text


HELD = [("say", {"type": "stage_started", "stage": "erm"}), ("sleep", 600)]
IMPORT_HELD = [("say", {"type": "stage_started", "stage": "import"}), ("sleep", 600)]


@pytest.mark.parametrize(
    ("running", "kind"), [(HELD, JobKind.ERM), (IMPORT_HELD, JobKind.IMPORT)], ids=["training", "import"]
)
def test_neither_kind_waits_for_the_other(
    running: list[tuple[str, object]], kind: JobKind, runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    other = JobKind.ERM if kind is JobKind.IMPORT else JobKind.IMPORT
    with running_slots(runtime, wait=0.05):
        held = add_job(running, kind=kind)
        wait_until(lambda: job_of(held).stage is not None)
        same, beside = add_job(FAILED, kind=kind), add_job(FAILED, kind=other)
        wait_until(lambda: job_of(beside).state.ended)
        assert (job_of(held).state, job_of(same).state) == (JobState.RUNNING, JobState.QUEUED)


def test_without_slots_of_their_own_imports_take_those_of_the_worker(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    sharing = with_settings(runtime, import_slots=0)
    assert [slot.kinds for slot in slots_of(sharing.settings)] == [set(JobKind)]
    with running_slots(sharing, wait=0.05):
        job_id = add_job(FAILED, kind=JobKind.IMPORT)
        wait_until(lambda: job_of(job_id).state.ended)


def test_slots_for_imports_take_no_gpu_from_the_others() -> None:
    slots = slots_of(Settings(worker_slots=2, import_slots=3))
    numbers = [slot.number for slot in slots if JobKind.ERM in slot.kinds]
    assert numbers == [0, 1]
    assert all(slot.kinds == {JobKind.IMPORT} for slot in slots[2:])
    assert len(slots) == 5
