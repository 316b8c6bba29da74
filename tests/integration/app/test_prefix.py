"""Behind a proxy's prefix: every address that an answer names can be asked for as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import problem
from core.queries import datasets
from masktune.contract.problems import PROBLEM_BASE, ErrorCode
from masktune.contract.vocabulary import JobKind, JobState, Stage
from tests.integration.app.conftest import CLASSES, DIGITS, Front, StartFront, stream_of, weights

pytestmark = pytest.mark.anyio


@pytest.fixture
def behind(start: StartFront) -> Front:
    """A front behind a prefix."""
    return start(root_path="/mt")


def addresses(value: object) -> Iterator[str]:
    """Every text of a JSON document that is an absolute path; the types of problems are no addresses."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from addresses(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from addresses(inner)
    elif isinstance(value, str) and value.startswith("/") and not value.startswith(PROBLEM_BASE):
        yield value


def named(answer: Any) -> list[str]:
    """The addresses in an answer, its Location among them; all of them have the prefix, once."""
    found = [*addresses(answer.json()), *filter(None, [answer.headers.get("location")])]
    assert all(one.startswith("/mt/") and "//" not in one and "/mt/mt/" not in one for one in found), found
    return found


def test_what_was_made_is_where_the_answer_says(behind: Front) -> None:
    dataset = behind.dataset()
    files = {"file": ("w.safetensors", weights())}
    form = {"backbone": "small_cnn", "classes": json.dumps(CLASSES), "image_size": "28"}
    model = behind.client.post("/mt/models", files=files, data=form).json()["id"]
    asked = {"model": model, "dataset": dataset}
    for answer in (
        behind.client.post("/mt/datasets", json=DIGITS),
        behind.client.post("/mt/models", files=files, data=form),
        behind.client.post("/mt/jobs/evaluate", json=asked),
        behind.client.put("/mt/aliases/fresh", json={"model": model}),
    ):
        assert answer.is_success, answer.text
        assert answer.headers["location"] in named(answer)
        assert behind.client.get(answer.headers["location"]).status_code == 200


def test_a_made_key_is_where_the_answer_says(start: StartFront) -> None:
    front = start(root_path="/mt", api_keys="admin:root")
    front.client.headers["X-API-Key"] = "root"
    made = front.client.post("/keys", json={"name": "k", "scopes": ["read"]})
    assert named(made) == [f"/mt/keys/{made.json()['id']}"]


def test_the_links_of_a_job_lead_to_it(behind: Front) -> None:
    job = behind.job(JobKind.PREDICT)
    lease = behind.claim()
    behind.finish_stage(lease, Stage.PREDICT, artifact="none", file="none")
    behind.end(lease)
    shown = behind.client.get(f"/mt/jobs/{job}")
    table = f"/mt/jobs/{job}/predictions"
    assert named(shown) == [f"/mt/jobs/{job}", f"/mt/jobs/{job}/events", table, f"{table}/rows"]
    assert set(named(shown)) <= set(named(behind.client.get("/mt/jobs")))
    resumed = behind.job()
    for answer in (
        behind.client.post(f"/mt/jobs/{resumed}/cancel"),
        behind.client.post(f"/mt/jobs/{resumed}/resume"),
    ):
        assert f"/mt/jobs/{resumed}" in named(answer)


def test_a_problem_has_the_same_type_behind_a_prefix(behind: Front) -> None:
    limit = behind.settings.max_body_bytes
    admission = behind.app.state.admission
    admission.in_flight = admission.most
    busy = behind.client.post("/mt/predict?model=x", content=b"x")
    admission.in_flight = 0
    elsewhere = {"Origin": "http://evil.example"}
    for answer, status in (
        (busy, 503),
        (behind.client.get("/mt/models/nosuch"), 404),
        (behind.client.get("/mt/nowhere"), 404),
        (behind.client.get("/mt/docs/static/nowhere"), 404),
        (behind.client.delete("/mt/jobs"), 405),
        (behind.client.get("/mt/jobs?limit=0"), 422),
        (behind.client.post("/mt/predict?model=x", content=b"x"), 415),
        (behind.client.post("/mt/jobs/erm", content=b"x" * (limit + 1)), 413),
        (behind.client.post("/mt/jobs/erm", json={}, headers=elsewhere), 403),
    ):
        assert answer.status_code == status, answer.text
        assert named(answer) == [answer.json()["instance"]]
        explained = behind.client.get(f"/mt{answer.json()['type']}")
        assert (explained.json()["type"], explained.json()["code"]) == (
            answer.json()["type"],
            answer.json()["code"],
        )


def test_a_stored_problem_has_its_type_and_code(behind: Front) -> None:
    dataset, job = behind.dataset(), behind.job()
    behind.end(behind.claim(), JobState.FAILED)
    with behind.services.database.begin() as session:
        summary = {"error": problem(ErrorCode.JOB_FAILED, "no")}
        datasets.finish(session, dataset, artifact=None, classes=[], summary=summary, ready=False)
    failed = behind.client.get(f"/mt/jobs/{job}").json()["error"]
    assert (failed["type"], failed["code"]) == ("/problems/job-failed", "job-failed")
    invalid = behind.client.get(f"/mt/datasets/{dataset}").json()["report"]["error"]
    assert (invalid["type"], invalid["code"]) == ("/problems/job-failed", "job-failed")


async def test_a_problem_of_a_stream_names_the_path_with_its_prefix(behind: Front) -> None:
    sent = stream_of(behind.services.event_feed, "job_gone", after=0, instance="/mt/jobs/x")
    *_, last = [chunk async for chunk in sent]
    data = json.loads(last.partition(b"data: ")[2])
    assert (data["type"], data["code"]) == ("/problems/not-found", "not-found")
    assert data["instance"] == "/mt/jobs/x"


def test_the_document_says_where_the_service_is(behind: Front) -> None:
    assert behind.client.get("/mt/openapi.json").json()["servers"] == [{"url": "/mt"}]
    assert '"/mt/openapi.json"' in behind.client.get("/mt/docs").text.replace("'", '"')
