"""A prediction of a source, or of a data set that is still being imported: it waits for the import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.jobs import service
from app.jobs.service import JobQueue
from core.queries import datasets, jobs
from core.settings import Settings
from core.sweep import close_imports, sweep
from core.tables import DatasetRow, IdempotencyRow, JobRow
from masktune.contract.vocabulary import DatasetState, JobState
from tests.integration.app.conftest import Front, StartFront, migrated, running
from tests.integration.app.datasets.test_datasets import upload
from tests.integration.app.jobs.test_jobs import refused, start
from tests.integration.core.locks import while_it_waits

SOURCE = "s3://bucket/scans/monday.v2/"
WAITING = "its data set, which is being imported"


@pytest.fixture
def front(database_url: str, start: StartFront) -> Front:
    return start(database_url=database_url, allowed_sources="s3://bucket/scans/")


@pytest.fixture(scope="module")
def shared_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The module's, which may read the same."""
    folder = tmp_path_factory.mktemp("shared")
    migrated(folder)
    with running(Settings(data_dir=folder, allowed_sources="s3://bucket/scans/")) as front:
        yield front


def made(front: Front) -> list[int]:
    """How many data sets, jobs and stored answers there are."""
    with front.services.database.read() as session:
        tables = (DatasetRow, JobRow, IdempotencyRow)
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def predict(front: Front, **body: Any) -> dict[str, Any]:
    """A predict job on the source, by a model without a calibration; `body` adds fields."""
    answer = start(front, "predict", **{"model": front.model(None), "source": SOURCE} | body)
    assert answer.status_code == 202, answer.json()
    return dict(answer.json())


def shown(front: Front, job: dict[str, Any]) -> dict[str, Any]:
    return dict(front.client.get(f"/jobs/{job['id']}").json())


def finish(front: Front, dataset: str, *, ready: bool, **summary: Any) -> None:
    """Record what the import of the data set has found."""
    with front.services.database.begin() as session:
        datasets.finish(
            session, dataset, artifact=f"datasets/{dataset}", classes=[], summary=summary, ready=ready
        )


def import_of(front: Front, job: dict[str, Any]) -> str:
    return str(front.client.get(f"/datasets/{job['dataset']}").json()["job"])


def test_a_source_becomes_a_data_set_without_labels_and_a_job(front: Front) -> None:
    job = predict(front)
    dataset = front.client.get(f"/datasets/{job['dataset']}").json()
    assert (dataset["state"], dataset["labelled"], dataset["name"]) == ("importing", False, "monday")
    assert dataset["source"] == {"address": SOURCE.rstrip("/")}
    assert (job["state"], job["waiting_for"], job["params"]["split"]) == ("queued", WAITING, "all")
    assert front.client.get(f"/jobs/{dataset['job']}").json()["kind"] == "import"
    for request, name in (
        ({"name": "monday morning", "split": "all"}, "monday morning"),
        ({"source": "s3://bucket/scans/a\u202eb\n.png"}, "a b"),
        ({"source": "s3://bucket/scans/ .png"}, ".png"),
    ):
        made_of = predict(front, **request)["dataset"]
        assert front.client.get(f"/datasets/{made_of}").json()["name"] == name


def test_the_job_is_claimed_once_the_import_is_ready(front: Front) -> None:
    job = predict(front, priority=9)
    lease = front.claim()
    assert lease.job_id == import_of(front, job)
    other = {"id": front.job()}
    assert [shown(front, each)["queue_position"] for each in (job, other)] == [1, 1]
    assert front.claim().job_id == other["id"]
    finish(front, job["dataset"], ready=True, count=3, splits={})
    assert "a free worker" in shown(front, job)["waiting_for"]
    assert front.claim().job_id == job["id"]


def test_a_data_set_that_is_invalid_fails_the_job_and_says_why(front: Front) -> None:
    job = predict(front)
    finish(front, job["dataset"], ready=False, problems=[{"code": "empty", "detail": "there is no image"}])
    failed = shown(front, job)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "dataset-not-ready")
    assert failed["error"]["detail"] == f"data set {job['dataset']} is invalid: there is no image"
    events = front.client.get(f"/jobs/{job['id']}/events", headers={"Accept": "application/json"}).json()
    assert events["data"][-1]["data"]["state"] == "failed"


def test_an_import_that_fails_or_is_cancelled_fails_the_job(front: Front) -> None:
    cancelled, failed = predict(front), predict(front)
    assert front.client.post(f"/jobs/{import_of(front, cancelled)}/cancel").status_code == 202
    lease = front.claim()
    assert lease.job_id == import_of(front, failed)
    front.end(lease, JobState.FAILED)
    sweep(front.services.database, front.settings)
    for job, why in ((cancelled, "the import was cancelled"), (failed, "no")):
        ended = shown(front, job)
        assert (ended["state"], ended["error"]["detail"].partition(": ")[2]) == ("failed", why)


def test_a_job_that_is_resumed_while_the_import_is_tried_again_waits_for_it(front: Front) -> None:
    job = predict(front)
    importing = import_of(front, job)
    front.client.post(f"/jobs/{importing}/cancel")
    with front.services.database.begin() as session:
        close_imports(session, importing)
    assert front.client.post(f"/jobs/{importing}/resume").json()["waiting_for"] != WAITING
    with front.services.database.begin() as session:  # as its next attempt does
        datasets.get(session, job["dataset"]).state = DatasetState.IMPORTING
    resumed = front.client.post(f"/jobs/{job['id']}/resume").json()
    assert (resumed["state"], resumed["waiting_for"]) == ("queued", WAITING)
    finish(front, job["dataset"], ready=True)
    assert shown(front, job)["waiting_for"] != WAITING


def test_the_data_set_is_in_use_while_the_job_waits(front: Front) -> None:
    job = predict(front)
    answer = front.client.delete(f"/datasets/{job['dataset']}")
    refused(answer, 409, "dataset-in-use", None)
    assert job["id"] in answer.json()["detail"]
    assert front.client.post(f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    finish(front, job["dataset"], ready=True)
    assert shown(front, job)["state"] == "cancelled"


def test_a_data_set_that_is_being_imported_is_predicted_without_labels_alone(front: Front) -> None:
    model = front.model(None)
    coming, labelled = upload(front, format="unlabelled").json(), upload(front).json()
    answer = start(front, "predict", model=model, dataset=coming["id"], split="all")
    assert (answer.status_code, answer.json()["waiting_for"]) == (202, WAITING)
    refused(start(front, "predict", model=model, dataset=coming["id"]), 422, "invalid-input", "/split")
    refused(start(front, "predict", model=model, dataset=labelled["id"]), 409, "dataset-not-ready", None)
    refused(start(front, "evaluate", model=model, dataset=coming["id"]), 422, "invalid-input", "/dataset")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"dataset": "ds_1"}, "/source"),
        ({"split": "test"}, "/split"),
        ({"source": "s3://bucket/other/"}, "/source"),
        ({"source": "file:///etc/passwd"}, "/source"),
        ({"source": "s3://bucket/scans/../other"}, "/source"),
        ({"source": "s3://"}, "/source"),
        ({"source": "https://bucket/scans/"}, "/source"),
        ({"source": "builtin:digits"}, "/source"),
        ({"source": "dataset:ds_1"}, "/source"),
        ({"source": {"source": SOURCE, "format": "image_folder"}}, "/source"),
        ({"format": "image_folder"}, "/format"),
        ({"coverage": 0.9}, "/coverage"),
        ({"source": None}, "/dataset"),
    ],
)
def test_what_is_refused_leaves_nothing(shared_front: Front, body: dict[str, Any], pointer: str) -> None:
    front, before = shared_front, made(shared_front)
    request = {"model": front.model(None), "source": SOURCE} | body
    for query in ("", "?dry_run=true"):
        refused(front.client.post(f"/jobs/predict{query}", json=request), 422, "invalid-input", pointer)
    assert made(front) == before


def test_a_model_that_is_not_there_leaves_nothing(shared_front: Front) -> None:
    before = made(shared_front)
    refused(start(shared_front, "predict", model="gone", source=SOURCE), 404, "not-found", None)
    assert made(shared_front) == before


def test_a_dry_run_makes_nothing_and_knows_no_cost_yet(shared_front: Front) -> None:
    front = shared_front
    model, coming = front.model(None), upload(front, format="unlabelled").json()["id"]
    before = made(front)
    for where in ({"source": SOURCE}, {"dataset": coming, "split": "all"}):
        plan = front.client.post("/jobs/predict?dry_run=true", json={"model": model, **where}).json()
        assert (plan["dataset"], plan["estimate"]) == (where.get("dataset"), None)
        assert plan["params"]["split"] == "all"
    assert made(front) == before


def test_the_same_key_makes_one_data_set_and_one_job(front: Front) -> None:
    body, key = {"model": front.model(None), "source": SOURCE}, {"Idempotency-Key": "monday"}
    first, again = (front.client.post("/jobs/predict", json=body, headers=key) for _ in range(2))
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert made(front) == [1, 2, 1]
    other = front.client.post("/jobs/predict", json=body | {"source": f"{SOURCE}b"}, headers=key)
    assert (other.status_code, made(front)) == (422, [1, 2, 1])


def test_the_import_and_the_job_count_for_the_quota_and_need_the_scope(start: StartFront) -> None:
    front = start(
        allowed_sources="s3://bucket/scans/",
        max_active_jobs_per_key=2,
        api_keys="train:t,read:r,predict:p,admin:a",
    )
    body = {"model": front.model(None), "source": SOURCE}
    answers = [
        front.client.post("/jobs/predict", json=body, headers={"X-API-Key": key}) for key in ("r", "p")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    first, second = (
        front.client.post("/jobs/predict", json=body, headers={"X-API-Key": "t"}) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (202, 429)
    assert made(front) == [1, 2, 0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_an_import_that_ends_as_a_job_is_started_or_resumed_leaves_none_waiting(front: Front) -> None:
    database, queue = front.services.database, JobQueue(0, 1, front.services.notifier)
    job = predict(front)
    with database.begin() as session:
        jobs.cancel(session, job["id"])
    dataset = job["dataset"]

    def end_import(session: Session) -> None:
        datasets.finish(session, dataset, artifact="datasets/x", classes=[], summary={}, ready=True)

    while_it_waits(database, lambda s: service.resume(s, queue, job["id"]), end_import).result()
    assert shown(front, job)["waiting_for"] != WAITING
