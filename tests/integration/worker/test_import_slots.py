"""An upload never waits behind a training, nor a training behind an upload."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.queries import datasets
from core.settings import Settings
from core.tables import JobRow
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, Stage
from tests.integration.worker.conftest import with_settings
from tests.integration.worker.service import Backend, Reference, check_ended_once
from tests.support.waits import wait_until
from worker.runtime import Runtime
from worker.slots import running_slots, slots_of

AddJob = Callable[..., str]
JobOf = Callable[[str], JobRow]

HELD = [("say", {"type": "stage_started", "stage": "erm"}), ("sleep", 600)]
IMPORT_HELD = [("say", {"type": "stage_started", "stage": "import"}), ("sleep", 600)]
FAILED = [("say", {"type": "failed", "error": {"detail": "enough"}, "retry": False})]


def test_an_import_ends_beside_a_training_whose_weights_stay_the_same(
    backend: Backend, reference: Reference
) -> None:
    service, _ = backend
    service.start_worker()
    training = service.add_held_at(Stage.ERM)
    importing = service.await_state(service.add_import(), JobState.SUCCEEDED)
    assert service.job(training).state is JobState.RUNNING
    with service.database.read() as session:
        assert datasets.get(session, str(importing.dataset_id)).state is DatasetState.READY
    service.open_gates()
    check_ended_once(service, service.await_state(training, JobState.SUCCEEDED), reference)


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
