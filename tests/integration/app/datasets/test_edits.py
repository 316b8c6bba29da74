"""Names, metadata, priority and who created it: set at the start, changed by a merge patch."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from core.tables import JobRow
from tests.integration.app.conftest import Front, StartFront

RESOURCES = ("datasets", "jobs", "models")


def resource(front: Front, kind: str) -> str:
    """The path of a new resource."""
    if kind == "jobs":
        return f"/jobs/{front.job()}"
    dataset = front.dataset()
    return f"/datasets/{dataset}" if kind == "datasets" else f"/models/{front.model(dataset)}"


def edit(front: Front, path: str, **changes: Any) -> Any:
    return front.client.patch(path, json=changes)


@pytest.mark.parametrize("kind", RESOURCES)
def test_a_merge_patch_changes_what_it_names(shared_front: Front, kind: str) -> None:
    path = resource(shared_front, kind)
    before = shared_front.client.get(path).json()
    answer = edit(shared_front, path, name=" night birds ", metadata={"site": "Bern", "lens": "50 mm"})
    assert answer.json() == before | {"name": "night birds", "metadata": {"site": "Bern", "lens": "50 mm"}}
    assert shared_front.client.get(path).headers["ETag"] == answer.headers["ETag"]
    assert edit(shared_front, path, metadata={"lens": None, "height": "2 m"}).json()["name"] == "night birds"
    assert shared_front.client.get(path).json()["metadata"] == {"site": "Bern", "height": "2 m"}
    assert edit(shared_front, path, metadata=None).json() == before | {"name": "night birds"}
    assert edit(shared_front, path).json()["name"] == "night birds"


@pytest.mark.parametrize("kind", RESOURCES)
def test_an_edit_of_an_old_representation_is_refused(shared_front: Front, kind: str) -> None:
    path = resource(shared_front, kind)
    etag = shared_front.client.get(path).headers["ETag"]
    headers = {"If-Match": etag, "Content-Type": "application/merge-patch+json"}
    assert shared_front.client.patch(path, content=json.dumps({"name": "a"}), headers=headers).is_success
    late = shared_front.client.patch(path, json={"name": "b"}, headers={"If-Match": etag})
    assert (late.status_code, late.json()["type"]) == (412, "/problems/precondition-failed")
    assert shared_front.client.get(path).json()["name"] == "a"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": "x" * 101}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": 3}, "/name"),
        ({"metadata": {"k" * 41: "x"}}, "/metadata"),
        ({"metadata": {"k": "x" * 201}}, "/metadata/k"),
        ({"metadata": {"k": 1}}, "/metadata/k"),
        ({"metadata": {"k": "\0"}}, "/metadata/k"),
        ({"metadata": {"k": "a\u202egnp"}}, "/metadata/k"),
        ({"metadata": {"k": "a\nb"}}, "/metadata/k"),
        ({"metadata": {"k\u202e": "x"}}, "/metadata"),
        ({"metadata": {"k\x1b[2J": "x"}}, "/metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "/metadata"),
        ({"priority": 1}, "/priority"),
    ],
)
def test_faulty_edits(shared_front: Front, changes: dict[str, Any], pointer: str) -> None:
    path = resource(shared_front, "jobs")
    before = shared_front.client.get(path).json()
    answer = edit(shared_front, path, **changes)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert shared_front.client.get(path).json() == before


def test_a_data_set_keeps_a_name_and_a_job_need_not(shared_front: Front) -> None:
    dataset, job = resource(shared_front, "datasets"), resource(shared_front, "jobs")
    assert edit(shared_front, dataset, name=None).json()["errors"][0]["pointer"] == "/name"
    edit(shared_front, job, name="first")
    assert edit(shared_front, job, name=None).json()["name"] is None


def test_there_must_be_something_to_edit(shared_front: Front) -> None:
    for path in ("/jobs/job_06d4k3w8s0q6v7yx3n5m9a1b2c", "/models/nothing", "/datasets/x"):
        assert edit(shared_front, path, name="a").status_code == 404


def test_an_alias_names_the_model_to_edit(front: Front) -> None:
    path = resource(front, "models")
    front.client.put("/aliases/best", json={"model": path.removeprefix("/models/")})
    assert edit(front, "/models/best", name="a").json()["name"] == "a"
    assert front.client.get(path).json()["name"] == "a"


def test_a_job_is_started_with_a_name_metadata_and_a_priority(shared_front: Front) -> None:
    body = {"dataset": shared_front.dataset(), "name": "night", "metadata": {"site": "Bern"}, "priority": 5}
    started = shared_front.client.post("/jobs/erm", json=body).json()
    assert (started["name"], started["metadata"], started["priority"]) == ("night", {"site": "Bern"}, 5)
    assert not started["params"].keys() & {"name", "metadata", "priority"}
    for faulty in ({"priority": 101}, {"priority": 0.5}, {"metadata": {"k": None}}):
        assert shared_front.client.post("/jobs/erm", json=body | faulty).status_code == 422


def test_a_queued_job_says_what_it_waits_for(front: Front) -> None:
    dataset = front.dataset()
    first, second = (front.client.post("/jobs/erm", json={"dataset": dataset}).json() for _ in range(2))
    assert (first["waiting_for"], second["waiting_for"]) == ("a worker", "a free worker: 1 job is before it")
    importing = front.client.post("/datasets", json={"name": "d", "source": "builtin:digits"}).json()["job"]
    upload = front.client.get(f"/jobs/{importing}").json()
    assert (upload["queue_position"], upload["waiting_for"]) == (1, "a worker")
    front.claim()
    told = [front.client.get(f"/jobs/{job['id']}").json()["waiting_for"] for job in (first, second)]
    assert told == [None, "a free worker: 1 job runs"]
    assert all(job["waiting_for"] is None for job in front.client.get("/jobs").json()["data"])


def test_a_data_set_is_created_with_metadata(shared_front: Front) -> None:
    body = {"name": "digits", "source": "builtin:digits", "metadata": {"site": "Bern"}}
    assert shared_front.client.post("/datasets", json=body).json()["metadata"] == {"site": "Bern"}
    form = {"name": "photos", "metadata": '{"site": "Bern"}'}
    sent = shared_front.client.post("/datasets", data=form, files={"file": ("a.zip", b"PK\x03\x04")})
    assert sent.json()["metadata"] == {"site": "Bern"}
    sent = shared_front.client.post(
        "/datasets", data=form | {"metadata": "{"}, files={"file": ("a.zip", b"PK\x03\x04")}
    )
    assert sent.json()["errors"][0]["pointer"] == "/metadata"


def test_the_creator_is_named_by_the_id_of_a_key_and_never_by_a_digest(front: Front) -> None:
    job = front.client.post("/jobs/erm", json={"dataset": front.dataset()}).json()
    assert job["created_by"] is None
    for stored, shown in (("key_06d4k3w8s0q6v7yx3n5m9a1b2c", True), ("0123456789abcdef", False)):
        with front.services.database.begin() as session:
            session.get_one(JobRow, job["id"]).created_by = stored
        assert (front.client.get(f"/jobs/{job['id']}").json()["created_by"] == stored) is shown


def test_an_edit_shows_nothing_to_who_may_not_read(start: StartFront) -> None:
    front = start(api_keys="admin:root,train:t,read+train:rt")
    for kind, changes in itertools.product(RESOURCES, ({}, {"name": "night"})):
        path = resource(front, kind)
        refused = front.client.patch(path, json=changes, headers={"X-API-Key": "t"})
        assert (refused.status_code, "read" in refused.json()["detail"]) == (403, True)
        assert front.client.patch(path, json=changes, headers={"X-API-Key": "rt"}).status_code == 200
