"""What few rows match is found by an index: a page of a list, and the next image of a review queue."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.queries import jobs, registry, review_queue
from core.session import Database
from core.tables import ReviewItemRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, JobKind, JobState, ReviewKind
from tests.integration.core import queue
from tests.integration.core.plans import copy_row, record_plans
from tests.support.rows import model_row

AUDIT, ABSTAINED = ReviewKind.AUDIT, ReviewKind.ABSTAINED


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"kind": JobKind.MASK}, "jobs_kind"),
        ({"state": JobState.FAILED}, "jobs_state_newest"),
        ({"kind": JobKind.MASK, "state": JobState.QUEUED}, "jobs_kind"),
        ({"dataset_id": "ds_0"}, "jobs_dataset"),
    ],
)
def test_a_page_of_few_jobs(database: Database, filters: dict[str, Any], index: str) -> None:
    """Of 10,000 jobs, a kind without any took as long as all of them."""
    queue.add(database, kind=JobKind.ERM, dataset_id="ds_1")
    copy_row(database, "jobs")
    plans = record_plans(database)
    with database.read() as session:
        assert jobs.listing(session, before=None, limit=20, **filters) == []
    assert index in plans[0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("filters", "index"), [({"arm": Arm.IMPORTED}, "models_arm"), ({"dataset_id": "ds_0"}, "models_dataset")]
)
def test_a_page_of_few_models(database: Database, filters: dict[str, Any], index: str) -> None:
    with database.begin() as session:
        registry.add(session, model_row(dataset_id="ds_1"))
    copy_row(database, "models")
    plans = record_plans(database)
    with database.read() as session:
        assert registry.listing(session, before=None, limit=20, **filters) == []
    assert index in plans[0]


def _queue(session: Session, model_id: str, kinds: list[ReviewKind]) -> list[str]:
    """Images of these kinds in the queue of a model, the oldest first."""
    rows = [
        ReviewItemRow(
            id=new_id("rev"),
            model_id=model_id,
            seq=seq,
            kind=kind,
            sha256="0" * 64,
            prediction={},
            bytes=1,
            created_at=float(seq),
        )
        for seq, kind in enumerate(kinds)
    ]
    session.add_all(rows)
    return [row.id for row in rows]


def test_the_next_image_is_the_oldest_of_the_audit_sample(database: Database) -> None:
    """Somebody else is handed another one; a key that two people share, its own when no other is left."""
    with database.begin() as session:
        first, second = (registry.add(session, model_row()).id for _ in range(2))
        images = _queue(session, first, [ABSTAINED, AUDIT, ABSTAINED, AUDIT])
        (other,) = _queue(session, second, [AUDIT])

    def claim(caller: str, **of: Any) -> str | None:
        with database.begin() as session:
            row = review_queue.claim(session, caller, **of)
            return None if row is None else row.id

    assert claim("me", model_id=first, kind=ABSTAINED) == images[0]
    assert claim("me", model_id=second) == other
    assert [claim("me"), claim("you"), claim("me")] == [images[1], images[3], images[2]]
    assert claim("you") == images[3]
    assert claim("me", kind=ABSTAINED) == images[0]
    assert claim("nobody") is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_next_image_is_not_sorted_out_of_all(database: Database) -> None:
    """Among 10,000 images that waited, each of them was sorted for every answer."""
    with database.begin() as session:
        model = registry.add(session, model_row()).id
        _queue(session, model, [ABSTAINED] * 3000)
    plans = record_plans(database)
    for of in (None, model):
        with database.begin() as session:
            assert review_queue.claim(session, "me", model_id=of) is not None
    choices = [plan for plan in plans if "review_items" in plan and "LockRows" in plan]
    assert len(choices) == 4
    assert all("review_items_next" in plan and "Sort" not in plan for plan in choices), choices
