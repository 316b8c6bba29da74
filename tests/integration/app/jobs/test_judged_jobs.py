"""`POST /jobs/evaluate` with a job: what is queued, and what is refused before anything is computed."""

from __future__ import annotations

from typing import Any

from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.jobs import JobPlan
from masktune.contract.vocabulary import Arm, JobKind, JobState, Stage
from tests.integration.app.conftest import Front
from tests.integration.app.jobs.test_jobs import inputs_of, refused, start
from tests.support.answers import JOB
from tests.support.stage_results import EVALUATION


def only_test(front: Front, classes: list[str]) -> str:
    """Add a data set of test images alone."""
    dataset = front.dataset(classes=["left", "right"])
    with front.services.database.begin() as session:
        row = session.get_one(DatasetRow, dataset)
        splits = {split: facts | {"count": 0} for split, facts in row.summary["splits"].items()}
        row.summary = row.summary | {"splits": splits | {"test": splits["test"] | {"count": 12}}}
        row.classes = classes
    return dataset


def trained(front: Front, dataset: str, kind: JobKind = JobKind.MITIGATE) -> tuple[str, dict[str, str]]:
    """Add a job that succeeded, with its models by arm."""
    job = front.job(kind, dataset_id=dataset)
    models = {arm: front.model(dataset, job_id=job) for arm in ("erm", "retrained", "retrained_control")}
    lease = front.claim()
    front.finish_stage(lease, Stage.EVALUATE, compared=models, artifact=f"jobs/{job}/report")
    front.end(lease)
    return job, models


def test_all_models_of_the_job_are_read(front: Front) -> None:
    dataset = front.dataset()
    job, models = trained(front, dataset)
    brought = only_test(front, ["right"])
    answer = start(front, "evaluate", job=job, dataset=brought, breaks_pattern=True)
    body = answer.json()
    assert answer.status_code == 202, body
    assert (body["kind"], body["dataset"]) == ("evaluate", brought)
    assert body["params"] == {"splits": ["test"], "job": job, "breaks_pattern": True}
    inputs = inputs_of(front, body)
    assert (inputs["judged"], inputs["trained_on"]) == (models, [dataset])
    for path in (f"/models/{models['erm']}", f"/datasets/{dataset}", f"/datasets/{brought}"):
        assert front.client.delete(path).status_code == 409, path


def judged(front: Front, job: str, models: dict[str, str], groups: str | None) -> str:
    """Add a job that has judged these models on images with such groups."""
    brought = only_test(front, ["left", "right"])
    judging: str = start(front, "evaluate", job=job, dataset=brought).json()["id"]
    size = None if groups is None else 40
    evaluation = EVALUATION | {"groups": groups, "smallest_group": size, "dataset_name": groups or "none"}
    lease = front.claim()
    assert lease.job_id == judging
    front.finish_stage(
        lease,
        Stage.EVALUATE,
        compared=models,
        metrics={},
        artifact=f"jobs/{judging}/report",
        verdict=JOB["verdict"] | {"reason": None, "beaten_by": None, "a": "retrained", "b": "erm"},
        evaluations={"retrained": evaluation},
        next=[{"step": "use_model", "arm": "retrained", "model": models["retrained"]}],
    )
    front.end(lease)
    return judging


def test_looks_are_numbered_by_their_images(front: Front) -> None:
    job, _ = trained(front, front.dataset())

    def look(images: str) -> tuple[str, int]:
        brought = only_test(front, ["left", "right"])
        with front.services.database.begin() as session:
            row = session.get_one(DatasetRow, brought)
            row.summary = row.summary | {"images_digest": images}
        body = start(front, "evaluate", job=job, dataset=brought).json()
        return body["id"], inputs_of(front, body)["look"]

    first, number = look("a")
    assert number == 1
    assert look("b")[1] == 2
    front.client.post(f"/jobs/{first}/cancel")
    assert front.client.delete(f"/jobs/{first}").status_code == 204
    assert [look(images)[1] for images in ("c", "a", "b")] == [3, 1, 2]


def test_the_current_verdict_is_of_the_judgement_that_rests_on_the_most(front: Front) -> None:
    job, models = trained(front, front.dataset())
    own = front.client.get(f"/jobs/{job}").json()
    assert (own["current"], [one["job"] for one in own["judgements"]]) == (None, [job])
    by_groups = judged(front, job, models, "labelled")
    without = judged(front, job, models, None)

    def state() -> tuple[str, set[str], str]:
        body = front.client.get(f"/jobs/{job}").json()
        current = body["current"]
        (step,) = current["next"]
        assert (step["step"], step["model"]) == ("use_model", models["retrained"])
        return (
            current["job"],
            {one["job"] for one in body["judgements"]},
            current["evaluation"]["dataset_name"],
        )

    assert state() == (by_groups, {job, by_groups, without}, "labelled")
    assert front.client.get(f"/jobs/{job}").json()["verdict"] is None, "the job's own stays as it was"
    assert front.client.delete(f"/jobs/{by_groups}").status_code == 204
    assert state() == (without, {job, without}, "none")
    listed = front.client.get("/jobs").json()["data"]
    assert {(one["current"], len(one["judgements"])) for one in listed} == {(None, 0)}


def test_data_sets_that_trained_what_the_models_were_made_from_are_read_too(front: Front) -> None:
    dataset, earlier = front.dataset(), front.dataset()
    erm = front.model(earlier)
    job, _ = trained(front, dataset, JobKind.RETRAIN_HEAD)
    with front.services.database.begin() as session:
        row = session.get_one(JobRow, job)
        row.inputs = {"model": erm}
    brought = only_test(front, ["left", "right"])
    answer = start(front, "evaluate", job=job, dataset=brought)
    refused(answer, 422, "invalid-input", "/job")
    assert f"that trained model {erm} was deleted" in answer.json()["detail"]
    with front.services.database.begin() as session:
        session.get_one(ModelRow, erm).arm = Arm.IMPORTED
    body = start(front, "evaluate", job=job, dataset=brought).json()
    assert inputs_of(front, body)["trained_on"] == [dataset, earlier]


def test_a_dry_run_has_the_one_stage_and_its_cost(front: Front) -> None:
    job, _ = trained(front, front.dataset())
    fields = {"job": job, "dataset": only_test(front, ["right", "left"])}
    answer = front.client.post("/jobs/evaluate?dry_run=true", json=fields)
    assert answer.status_code == 200, answer.json()
    plan = JobPlan.model_validate(answer.json())
    assert plan.estimate is not None
    assert (plan.models, [stage.stage for stage in plan.estimate.stages]) == ([], [Stage.EVALUATE])
    assert plan.estimate.seconds > 0


def test_fields_that_do_not_go_together(front: Front) -> None:
    job, _ = trained(front, front.dataset())
    body: dict[str, Any] = {"job": job, "dataset": only_test(front, ["left", "right"])}
    for fields, pointer, words in (
        ({"model": "production"}, "/model", "leave out model, or job"),
        ({"splits": ["val"]}, "/splits", "leave out splits, or job"),
        ({"dataset": None}, "/dataset", "name the data set"),
    ):
        answer = start(front, "evaluate", **body | fields)
        refused(answer, 422, "invalid-input", pointer)
        assert words in answer.json()["errors"][0]["detail"]


def test_without_a_job_there_must_be_a_model_and_nothing_that_needs_a_job(shared_front: Front) -> None:
    dataset = shared_front.dataset()
    refused(start(shared_front, "evaluate", dataset=dataset), 422, "invalid-input", "/model")
    model = shared_front.model(dataset)
    refused(
        start(shared_front, "evaluate", model=model, breaks_pattern=True),
        422,
        "invalid-input",
        "/breaks_pattern",
    )


def test_classes_that_do_not_match_are_named_on_both_sides(front: Front) -> None:
    job, _ = trained(front, front.dataset())
    answer = start(front, "evaluate", job=job, dataset=only_test(front, ["right", "up"]))
    refused(answer, 422, "model-of-another-dataset", "/dataset")
    detail = answer.json()["detail"]
    assert "has the classes right, up" in detail
    assert f"the models of job {job} know left, right" in detail
    assert "rename or leave out up" in detail


def test_jobs_without_models_to_judge(front: Front) -> None:
    dataset = front.dataset()
    brought = only_test(front, ["left", "right"])
    refused(start(front, "evaluate", job=new_id("job"), dataset=brought), 404, "not-found")
    mask = front.job(JobKind.MASK, dataset_id=dataset)
    front.end(front.claim())
    queued = front.job(JobKind.MITIGATE, dataset_id=dataset)
    for job, words in ((mask, "of the kind mask"), (queued, "is queued")):
        answer = start(front, "evaluate", job=job, dataset=brought)
        refused(answer, 422, "invalid-input", "/job")
        assert words in answer.json()["detail"]
    front.end(front.claim(), JobState.FAILED)
    refused(start(front, "evaluate", job=queued, dataset=brought), 422, "invalid-input", "/job")


def test_the_images_that_trained_a_job_must_be_there_and_are_not_its_test(front: Front) -> None:
    dataset = front.dataset()
    job, _ = trained(front, dataset)
    refused(start(front, "evaluate", job=job, dataset=dataset), 422, "invalid-input", "/dataset")
    assert front.client.delete(f"/datasets/{dataset}").status_code == 204
    answer = start(front, "evaluate", job=job, dataset=only_test(front, ["left", "right"]))
    refused(answer, 422, "invalid-input", "/job")
    assert "was deleted" in answer.json()["detail"]


def test_nothing_is_trained_on_test_images_alone(shared_front: Front) -> None:
    brought = only_test(shared_front, ["left", "right"])
    model = shared_front.model(shared_front.dataset())
    for kind in ("mitigate", "masktune", "erm", "mask", "retrain_head"):
        fields = {"model": model} if kind in ("mask", "retrain_head") else {}
        answer = start(shared_front, kind, dataset=brought, **fields)
        refused(answer, 422, "invalid-input", "/dataset")
        assert "holds test images alone, so nothing can be trained on it" in answer.json()["detail"]


def test_a_model_is_measured_on_the_splits_that_have_images(shared_front: Front) -> None:
    model = shared_front.model(shared_front.dataset())
    brought = only_test(shared_front, ["left", "right"])
    assert start(shared_front, "evaluate", model=model, dataset=brought).json()["params"]["splits"] == [
        "test"
    ]
    answer = start(shared_front, "evaluate", model=model, dataset=brought, splits=["val", "test"])
    refused(answer, 422, "invalid-input", "/splits")
    assert "no samples in val" in answer.json()["detail"]
