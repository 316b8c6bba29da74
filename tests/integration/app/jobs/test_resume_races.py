"""What is deleted before a job is resumed, or at the same moment: one of both is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from app.jobs import service
from app.jobs.service import JobQueue
from core.errors import DatasetInUse, ModelInUse, NotFound
from core.queries import datasets, jobs, leases, registry
from masktune.contract.vocabulary import JobKind, JobState, Stage
from tests.integration.app.conftest import Front
from tests.integration.core.locks import while_it_waits

Change = Callable[[Session], object]


def cancelled(front: Front, kind: JobKind, **fields: object) -> str:
    job = front.job(kind, **fields)
    with front.services.database.begin() as session:
        jobs.cancel(session, job)
    return job


def failed_after_its_erm(front: Front, dataset: str) -> tuple[str, str]:
    """A job that failed when it had made one model, and that model."""
    model = front.model(dataset)
    job = front.job(JobKind.MASKTUNE, dataset_id=dataset, inputs={"model_ids": {"erm": model}})
    lease = front.claim()
    front.finish_stage(lease, Stage.ERM, models=[])
    with front.services.database.begin() as session:
        leases.set_models(session, lease, {"erm": model})
    front.end(lease, JobState.FAILED)
    return job, model


def check_refused(front: Front, job: str, gone: str) -> None:
    answer = front.client.post(f"/jobs/{job}/resume")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), answer.json()
    assert gone in answer.json()["detail"]
    assert front.client.get(f"/jobs/{job}").json()["state"] in ("cancelled", "failed")


def test_a_job_whose_data_set_model_or_mask_set_is_gone_is_not_resumed(front: Front) -> None:
    dataset, other = front.dataset(), front.dataset()
    job = cancelled(front, JobKind.ERM, dataset_id=dataset)
    read = front.model(other)
    reads = cancelled(front, JobKind.EVALUATE, dataset_id=other, inputs={"model": read})
    makes, made = failed_after_its_erm(front, other)
    masks = cancelled(front, JobKind.MASK, dataset_id=other)
    finetunes = cancelled(front, JobKind.FINETUNE, dataset_id=other, inputs={"mask_set": masks})
    gone = {job: ("datasets", dataset), reads: ("models", read), makes: ("models", made)}
    gone[finetunes] = "jobs", masks
    for resumed, (kind, lost) in gone.items():
        assert front.client.delete(f"/{kind}/{lost}").status_code == 204
        check_refused(front, resumed, lost)


def test_an_import_that_was_cancelled_is_resumed(front: Front) -> None:
    made = front.client.post("/datasets", json={"name": "d", "source": "builtin:digits"}).json()
    path = f"/jobs/{made['job']}"
    assert front.client.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert front.client.post(f"{path}/resume").status_code == 202


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_a_job_needs_is_deleted_or_the_job_resumed_and_never_both(front: Front) -> None:
    database, queue = front.services.database, JobQueue(0, 1, front.services.notifier)
    dataset, lost_dataset, other = front.dataset(), front.dataset(), front.dataset()
    makes, model = failed_after_its_erm(front, other)
    lost_model = front.model(other)
    trains = cancelled(front, JobKind.ERM, dataset_id=dataset)
    trains_on_lost = cancelled(front, JobKind.ERM, dataset_id=lost_dataset)
    reads_lost = cancelled(front, JobKind.EVALUATE, dataset_id=other, inputs={"model": lost_model})

    def resume(job: str) -> Change:
        return lambda session: service.resume(session, queue, job)

    with pytest.raises(DatasetInUse, match=trains):
        while_it_waits(database, resume(trains), lambda s: datasets.delete(s, dataset)).result()
    with pytest.raises(NotFound, match=lost_dataset):
        while_it_waits(database, lambda s: datasets.delete(s, lost_dataset), resume(trains_on_lost)).result()
    with pytest.raises(ModelInUse, match=makes):
        while_it_waits(database, resume(makes), lambda s: registry.delete(s, model)).result()
    with pytest.raises(NotFound, match=lost_model):
        while_it_waits(database, lambda s: registry.delete(s, lost_model), resume(reads_lost)).result()
