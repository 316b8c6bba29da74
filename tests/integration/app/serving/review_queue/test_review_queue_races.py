"""Review queues on both databases: while several people answer, replicas draw images, and one is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from app.auth.keyring import Caller
from app.inference import Upload
from app.registry import promise
from app.review_queue import queueing
from app.review_queue import service as reviews
from app.review_queue.spool import Spool
from core.errors import Conflict
from core.queries import registry, review_queue
from core.session import Database
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.ids import new_id
from masktune.contract.serving.review_queue import NewReviewPolicy, ReviewAnswer
from masktune.contract.vocabulary import Arm, ReviewKind, ReviewOutcome
from tests.integration.app.serving.conftest import PNG, World, picture
from tests.integration.app.serving.processes import Replica
from tests.support.databases import empty_database

SKIP = ReviewAnswer(outcome=ReviewOutcome.SKIP)
NONE = ReviewAnswer(outcome=ReviewOutcome.NONE_OF_THE_CLASSES)
LABEL = ReviewAnswer(outcome=ReviewOutcome.LABEL, label="a")
IMAGES = 30


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_database(request.param, tmp_path) as url:
        opened = Database(url)
        yield opened
        opened.close()


def _model(database: Database) -> str:
    id = new_id("mdl")
    fields = {"backbone": "x", "classes": ["a", "b"], "image_size": 28, "artifact": f"models/{id}"}
    with database.begin() as session:
        calibration = {"id": "cal_1", "artifact": "calibrations/cal_1"}
        registry.add(session, ModelRow(id=id, arm=Arm.ERM, calibration=calibration, **fields))
    reviews.set_policy(database, id, NewReviewPolicy(enabled=True, max_risk=0.05))
    return id


def _draw(database: Database, model: str, number: int) -> None:
    """As a replica does for an image that it answered under the promise."""
    with database.read() as session:
        of = promise.monitored(registry.get(session, model))
    drawn = queueing.DrawnImage(0, of, {"decision": "answer", "label": "a"})
    received = queueing.ReceivedImages([Upload(picture(number))], None)
    queueing.store(database, model, queueing.queued(model, [drawn], received))


def _together(people: int, work: Callable[[int], int]) -> int:
    """Run `work(person)` of so many people at once; the sum of what they return."""
    ready = threading.Barrier(people)

    def begin(person: int) -> int:
        ready.wait()
        return work(person)

    with ThreadPoolExecutor(people) as pool:
        return sum(pool.map(begin, range(people)))


def test_replicas_that_draw_at_once_give_each_image_a_place_of_its_own(database: Database) -> None:
    model = _model(database)

    def replica(number: int) -> int:
        for image in range(IMAGES // 3):
            _draw(database, model, number * IMAGES + image)
            _draw(database, model, 1000 + image)  # which the others draw too
        return 0

    _together(3, replica)
    with database.read() as session:
        items = list(review_queue.every(session, review_queue.where(model, ReviewKind.AUDIT, None)))
    assert sorted(item.seq for item in items) == list(range(1, 1 + IMAGES + IMAGES // 3))
    assert len({item.sha256 for item in items}) == len(items)


def test_people_are_handed_different_images_and_one_answer_of_each_is_taken(database: Database) -> None:
    model = _model(database)
    for number in range(IMAGES):
        _draw(database, model, number)

    def person(number: int) -> int:
        caller, answered = Caller(f"key_{number}", frozenset()), 0
        while True:
            with database.begin() as session:
                item = review_queue.claim(session, caller.id)
            if item is None:
                return answered
            with database.begin() as session:
                reviews.take_answer(session, item.id, SKIP, caller)  # raises if anybody else was faster
            answered += 1

    assert _together(3, person) == IMAGES
    with database.read() as session:
        known = registry.get(session, model).promise
    assert known is not None
    assert (known["answers"], known["errors"]) == (IMAGES, IMAGES)


def test_of_two_answers_at_once_one_is_taken(database: Database) -> None:
    model = _model(database)
    for number in range(8):
        _draw(database, model, number)
        with database.read() as session:
            (waiting,) = review_queue.every(session, review_queue.where(model, None, "waiting"))

        def person(number: int, item: ReviewItemRow = waiting) -> int:
            try:
                with database.begin() as session:
                    reviews.take_answer(session, item.id, SKIP, Caller(f"key_{number}", frozenset()))
            except Conflict:
                return 0
            return 1

        assert _together(2, person) == 1


@pytest.mark.parametrize("change", [{"enabled": False}, {"max_risk": 0.06}, None])
def test_what_was_drawn_under_a_policy_before_is_not_stored(
    database: Database, change: dict[str, Any] | None
) -> None:
    model = _model(database)
    with database.read() as session:
        of = promise.monitored(registry.get(session, model))
    if change is None:
        with database.begin() as session:
            registry.delete(session, model)
    else:
        fields: dict[str, Any] = {"enabled": True, "max_risk": 0.05} | change
        reviews.set_policy(database, model, NewReviewPolicy(**fields))
    drawn = queueing.DrawnImage(0, of, {"decision": "answer", "label": "a"})
    received = queueing.ReceivedImages([Upload(picture(0))], None)
    queueing.store(database, model, queueing.queued(model, [drawn], received))
    with database.read() as session:
        assert list(review_queue.every(session, [])) == []


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
def test_an_emptied_queue_gets_what_was_drawn_since_by_any_clock(database: Database, ahead: float) -> None:
    model, clock = _model(database), time.time

    def drawn(number: int) -> list[queueing.QueuedImage]:
        time.sleep(0.01)  # SQLite's clock has milliseconds
        abstained = queueing.DrawnImage(0, None, {"decision": "abstain", "label": None})
        return queueing.queued(model, [abstained], queueing.ReceivedImages([Upload(picture(number))], None))

    with patch.object(time, "time", lambda: clock() + ahead):  # of a replica
        before = drawn(0)
        time.sleep(0.01)
        with patch.object(time, "time", clock), database.begin() as session:  # of another one
            reviews.delete_all(session, model)
        queueing.store(database, model, [*before, *(since := drawn(1))])
    with database.read() as session:
        assert [one.id for one in review_queue.every(session, [])] == [since[0].id]


def test_what_is_kept_asked_and_taken_is_the_same_on_both_databases(database: Database) -> None:
    model, caller = _model(database), Caller("key_1", frozenset())
    for number in range(4):
        _draw(database, model, number)
    with database.begin() as session:
        drawn = list(review_queue.every(session, review_queue.where(model, ReviewKind.AUDIT, "waiting")))
        reviews.take_answer(session, drawn[2].id, SKIP, caller)
        reviews.take_answer(session, drawn[0].id, LABEL, caller)
    with database.begin() as session:
        reviews.take_answer(session, drawn[1].id, NONE, caller)
    keep_bytes = sum(len(picture(number)) for number in (1, 2, 3))  # too few for all
    policy = NewReviewPolicy(enabled=True, max_risk=0.05, keep_bytes=keep_bytes)
    reviews.set_policy(database, model, policy)
    reviews.expire(database)
    with database.read() as session:
        assert review_queue.get(session, drawn[0].id).bytes is None
        assert all(review_queue.get(session, one.id).bytes for one in drawn[1:])
        assert review_queue.count_waiting(session) == 1
        assert registry.count_broken_promises(session) == 0
        known = registry.get(session, model).promise
    assert known is not None
    assert (known["answers"], known["errors"]) == (3, 2)
    with database.begin() as session:
        reviews.undo(session, drawn[1].id, caller)  # the last answer
        reviews.delete(session, drawn[3].id)
    with database.read() as session:
        states = [reviews.describe(one).state for one in review_queue.every(session, [])]
    assert states == ["answered", "waiting", "answered", "deleted"]


@pytest.mark.faults
def test_a_kill_loses_no_image_whose_answer_was_sent(fresh_world: World, tmp_path: Path) -> None:
    fresh_world.client.put(f"/models/{fresh_world.model}/review-policy", json={"enabled": True})
    replica = Replica(tmp_path)
    try:
        replica.await_ready()
        sent, query = 0, {"model": fresh_world.model, "min_score": "1"}
        kill = threading.Timer(0.5, replica.close)
        try:
            while True:
                answer = httpx2.post(
                    f"{replica.url}/predict", params=query, content=picture(sent), headers=PNG, timeout=30
                )
                assert answer.json()["predictions"][0]["decision"] == "abstain"
                sent += 1
                if sent == 1:  # the model is loaded
                    kill.start()
        except httpx2.TransportError:  # it is dead
            kill.join()
    finally:
        replica.close()
    lost = Counter("lost", "Lost.", registry=CollectorRegistry())
    Spool(tmp_path / "spool", fresh_world.services.database, lost).fill()  # as the next process does
    stored = len(fresh_world.client.get("/reviews.csv").text.splitlines()) - 1
    assert sent > 0
    assert stored in (sent, sent + 1)
