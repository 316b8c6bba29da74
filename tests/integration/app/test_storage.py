"""What needs something that may be deleted."""

from __future__ import annotations

from typing import Any

from core.queries import registry
from masktune.contract.vocabulary import JobKind
from tests.integration.app.conftest import Front


def dependents(front: Front, of: str) -> dict[str, Any]:
    answer = front.client.get("/dependents", params={"of": of})
    assert answer.status_code == 200, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def point(front: Front, alias: str, model: str) -> None:
    with front.services.database.begin() as session:
        registry.move_alias(session, alias, model)


def test_what_needs_a_data_set_a_model_or_a_job(front: Front) -> None:
    dataset, other = front.dataset(), front.dataset()
    job = front.job(JobKind.MASK, dataset_id=dataset)
    erm = front.model(dataset, job_id=job)
    tuned, foreign = front.model(dataset, erm_id=erm), front.model(other)
    reads = front.job(JobKind.PREDICT, dataset_id=other, inputs={"model": erm})
    finetunes = front.job(JobKind.FINETUNE, dataset_id=dataset, inputs={"mask_set": job, "model": foreign})
    front.job(JobKind.IMPORT, dataset_id=dataset)  # goes with its data set
    for alias, model in (("best", tuned), ("first", erm), ("elsewhere", foreign)):
        point(front, alias, model)
    of_both = {"models": [erm, tuned], "aliases": ["best", "first"]}
    assert dependents(front, dataset) == {"of": dataset, "jobs": [job, finetunes], **of_both}
    of_erm = {"of": erm, "models": [tuned], "jobs": [reads], "aliases": ["best", "first"]}
    assert dependents(front, erm) == dependents(front, "first") == of_erm
    assert dependents(front, job) == {"of": job, "models": [erm], "jobs": [finetunes], "aliases": ["first"]}
    for unknown in ("nobody", "ds_1", "job_1"):
        assert front.client.get("/dependents", params={"of": unknown}).status_code == 404
