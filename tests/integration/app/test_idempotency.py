"""Idempotency-Key: created once, answered alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import STALE_AFTER, Once
from core.errors import NotFound, RequestInFlight
from core.queries import idempotency, jobs
from core.tables import IdempotencyRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind
from tests.integration.app.conftest import Front, StartFront
from tests.integration.app.datasets.test_datasets import archive, stored_uploads, upload

KEY = {"Idempotency-Key": "first"}
SOURCE = {"name": "d", "source": "builtin:digits"}


def names(front: Front) -> list[str]:
    return [row["name"] for row in front.client.get("/datasets").json()["data"]]


def test_the_first_answer_is_replayed(front: Front) -> None:
    first = front.client.post("/datasets", json=SOURCE, headers=KEY)
    # The same fields in another order and with defaults spelt out are the same request.
    again = front.client.post("/datasets", json={"seed": 0, **dict(reversed(SOURCE.items()))}, headers=KEY)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert names(front) == ["d"]


def test_another_body_under_the_key_is_refused(front: Front) -> None:
    front.client.post("/datasets", json=SOURCE, headers=KEY)
    other = front.client.post("/datasets", json=SOURCE | {"name": "e"}, headers=KEY)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert names(front) == ["d"]


def test_uploads_are_the_same_when_their_bytes_are(front: Front) -> None:
    first = upload(front, archive("a/1.png", "b/1.png"), headers=KEY)
    folder = front.settings.data_dir / "artifacts" / "uploads"
    changed = folder.stat().st_mtime_ns
    again = upload(front, archive("a/1.png", "b/1.png"), headers=KEY)
    assert first.request.headers["Content-Type"] != again.request.headers["Content-Type"]
    assert again.json() == first.json()
    assert upload(front, archive("a/1.png", "c/1.png"), headers=KEY).status_code == 422
    assert [path.name for path in stored_uploads(front)] == [first.json()["id"]]
    assert folder.stat().st_mtime_ns == changed, "nothing was written, not even for a moment"


def test_what_was_refused_leaves_the_key_free(front: Front) -> None:
    assert front.client.post("/jobs/erm", json={"dataset": "ds_1"}, headers=KEY).status_code == 404
    dataset = front.dataset()
    first = front.client.post("/jobs/erm", json={"dataset": dataset}, headers=KEY)
    assert first.status_code == 202
    assert front.client.post("/jobs/erm", json={"dataset": dataset}, headers=KEY).json() == first.json()


def test_a_replay_does_not_ask_whether_it_could_still_be_done(front: Front) -> None:
    dataset = front.dataset()
    first = front.client.post("/jobs/erm", json={"dataset": dataset}, headers=KEY)
    front.end(front.claim())
    assert front.client.delete(f"/datasets/{dataset}").status_code == 204
    assert front.client.post("/jobs/erm", json={"dataset": dataset}, headers=KEY).json() == first.json()


def test_a_key_is_of_one_address_and_one_caller(start: StartFront) -> None:
    front = start(api_keys="admin:a,admin:b")
    answers = [
        front.client.post("/datasets", json=SOURCE, headers=KEY | {"X-API-Key": key})
        for key in ("a", "b", "a")
    ]
    ids = [answer.json()["id"] for answer in answers]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_keys_that_cannot_be_kept(shared_front: Front, key: str) -> None:
    refused = shared_front.client.post("/datasets", json=SOURCE, headers={"Idempotency-Key": key})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "Idempotency-Key:"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_of_many_at_once_creates(front: Front) -> None:
    def ask(_: int) -> Any:
        return front.client.post("/datasets", json=SOURCE, headers=KEY)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert names(front) == ["d"]


def test_a_request_still_in_flight_is_409(front: Front) -> None:
    once, entered, leave = Once(front.services.database, "anyone", "k"), threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait(60)

    def make(session: Session, planned: None) -> Response:
        return Response(b"made", status_code=202)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(once.run_planned, "f", slow, make)
        entered.wait(60)
        with pytest.raises(RequestInFlight):
            once.run_planned("f", slow, make)
        leave.set()
        assert first.result().body == b"made"
    assert once.run("f", lambda session: Response(b"again")).body == b"made"


def aged(front: Front, key: str) -> None:
    """As if the reservation had been made long ago, by a request that goes on all the same."""
    with front.services.database.begin() as session:
        session.get_one(IdempotencyRow, key).at -= STALE_AFTER + 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_request_whose_reservation_was_taken_over_creates_nothing(front: Front) -> None:
    """It took longer than a process that lives is given; else both would create."""
    once = Once(front.services.database, "anyone", "k")
    jobs_made = [new_id("job"), new_id("job")]

    def make(number: int) -> Callable[[Session, None], Response]:
        def add(session: Session, planned: None) -> Response:
            jobs.add(session, JobRow(id=jobs_made[number], kind=JobKind.ERM, params={}))
            return Response(jobs_made[number].encode(), status_code=202)

        return add

    def slow() -> None:
        aged(front, "k")
        once.run_planned("f", lambda: None, make(1))

    with pytest.raises(RequestInFlight):
        once.run_planned("f", slow, make(0))
    assert [job["id"] for job in front.client.get("/jobs").json()["data"]] == jobs_made[1:]
    assert once.run("f", lambda session: Response(b"again")).body == jobs_made[1].encode()


def test_a_request_that_fails_leaves_the_reservation_that_took_over_alone(front: Front) -> None:
    database = front.services.database

    def fails() -> None:
        aged(front, "k")
        with database.begin() as session:
            assert idempotency.begin(session, "k", "f", stale_after=STALE_AFTER) is None
        raise NotFound("the data set is gone")

    with pytest.raises(NotFound):
        Once(database, "anyone", "k").run_planned("f", fails, lambda session, _: Response(b"made"))
    with database.begin() as session:
        assert idempotency.begin(session, "k", "f", stale_after=STALE_AFTER) is not None
