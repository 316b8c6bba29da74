"""`?dry_run=true`: what a start would do, without starting anything."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from core.tables import IdempotencyRow, JobRow
from masktune.contract.jobs import JobEstimate, JobPlan
from masktune.contract.vocabulary import Stage
from tests.integration.app.conftest import Front


def dry_run(front: Front, kind: str, **body: Any) -> JobPlan:
    answer = front.client.post(f"/jobs/{kind}?dry_run=true", json=body)
    assert answer.status_code == 200, answer.json()
    return JobPlan.model_validate(answer.json())


def estimate_of(plan: JobPlan) -> JobEstimate:
    assert plan.estimate is not None
    return plan.estimate


def test_a_plan_has_the_params_of_the_job_that_a_start_queues(shared_front: Front) -> None:
    fields = {"dataset": shared_front.dataset(), "preset": "biased_mnist", "epochs": 3}
    plan = dry_run(shared_front, "masktune", **fields)
    job = shared_front.client.post("/jobs/masktune", json=fields).json()
    assert (plan.kind, plan.dataset, plan.params) == ("masktune", job["dataset"], job["params"])
    assert plan.models == ["erm", "masktune", "masktune_control"]
    assert [stage.stage for stage in estimate_of(plan).stages][:2] == ["erm", "infer_groups"]


def test_nothing_is_stored_and_a_key_is_still_free(front: Front) -> None:
    dataset = front.dataset()
    for _ in range(2):
        answer = front.client.post(
            "/jobs/erm?dry_run=true", json={"dataset": dataset}, headers={"Idempotency-Key": "once"}
        )
        assert answer.status_code == 200
        assert "Idempotency-Replayed" not in answer.headers
    with front.services.database.read() as session:
        for table in (JobRow, IdempotencyRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.parametrize("fields", [{"epochs": 0}, {"preset": "nothing"}, {"backbone": "resnet_32"}])
def test_a_dry_run_is_refused_as_the_start_is(shared_front: Front, fields: dict[str, Any]) -> None:
    body = {"dataset": shared_front.dataset(), **fields}
    dry, real = (shared_front.client.post(f"/jobs/erm{query}", json=body) for query in ("?dry_run=true", ""))
    assert (dry.status_code, dry.json()["errors"]) == (real.status_code, real.json()["errors"])


def test_an_ended_job_measures_one_like_it_and_no_other(front: Front) -> None:
    dataset = front.dataset()
    job = front.client.post("/jobs/erm", json={"dataset": dataset, "epochs": 2}).json()
    assert estimate_of(dry_run(front, "erm", dataset=dataset, epochs=4)).source == "guessed"
    lease = front.claim()
    for stage, seconds in ((Stage.ERM, 6.0), (Stage.CALIBRATE, 1.0), (Stage.EVALUATE, 1.0)):
        front.finish_stage(lease, stage, seconds=seconds, device="cpu")
    front.end(lease)
    estimate = estimate_of(dry_run(front, "erm", dataset=dataset, epochs=4))
    assert (estimate.source, estimate.device) == ("measured", "cpu")
    assert (estimate.stages[0].seconds, estimate.stages[0].job) == (12.0, job["id"])
    assert estimate_of(dry_run(front, "erm", dataset=dataset, image_size=32)).source == "guessed"


def test_a_plan_of_a_job_that_starts_from_a_model_is_of_its_network(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    model = shared_front.model(dataset)
    plan = dry_run(shared_front, "evaluate", model=model)
    assert (plan.inputs.model, plan.params["splits"]) == (model, ["val", "test"])
    assert estimate_of(plan).disk_bytes == 0
