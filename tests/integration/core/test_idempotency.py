"""What is remembered under an Idempotency-Key, and for how long, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from core.queries import idempotency
from core.session import Database
from core.tables import IdempotencyRow

HOUR = 3600.0


def _reserved(database: Database, key: str, *, ago: float = 0.0) -> float:
    """A reservation of so many seconds ago; when it says it was made."""
    with database.begin() as session:
        assert idempotency.begin(session, key, "f", stale_after=HOUR) is None
        row = session.get_one(IdempotencyRow, key)
        row.at -= ago
        return row.at


def _answered(database: Database, key: str, *, ago: float = 0.0) -> None:
    since = _reserved(database, key)
    with database.begin() as session:
        assert idempotency.finish(session, key, since=since, status=202, headers={}, body=key.encode())
        session.get_one(IdempotencyRow, key).at -= ago


def _kept(database: Database) -> dict[str, bytes | None]:
    """What stands under each key."""
    with database.read() as session:
        return {row.key: row.body for row in session.query(IdempotencyRow)}


def test_an_answer_is_replayed_however_long_a_process_may_be_silent(database: Database) -> None:
    """Only what nobody answered is taken for what a dead process left."""
    _answered(database, "answered", ago=2 * HOUR)
    with database.begin() as session:
        found = idempotency.begin(session, "answered", "f", stale_after=HOUR)
        assert found is not None
        assert (found.status, found.body) == (202, b"answered")


def test_a_reservation_that_is_taken_over_is_the_one_of_the_key(database: Database) -> None:
    """The other one's process may be slow and not dead: nobody has asked for its key again."""
    for key in ("mine", "other"):
        _reserved(database, key, ago=2 * HOUR)
    with database.begin() as session:
        assert idempotency.begin(session, "mine", "f", stale_after=HOUR) is None
    assert set(_kept(database)) == {"mine", "other"}
    with database.begin() as session:
        found = idempotency.begin(session, "mine", "f", stale_after=HOUR)
        assert found is not None, "it is new"


def test_to_finish_or_to_forget_one_key_leaves_the_others(database: Database) -> None:
    since = _reserved(database, "mine")
    _answered(database, "answered")
    with database.begin() as session:
        session.add(IdempotencyRow(key="other", fingerprint="f", status=None, at=since))
    with database.begin() as session:
        assert idempotency.finish(session, "mine", since=since, status=201, headers={}, body=b"made")
        assert not idempotency.finish(session, "mine", since=since, status=201, headers={}, body=b"twice")
    assert {key: body for key, body in _kept(database).items() if body} == {
        "mine": b"made",
        "answered": b"answered",
    }
    with database.begin() as session:
        idempotency.forget(session, "other", since=since - 1)
        assert session.get(IdempotencyRow, "other") is not None
        idempotency.forget(session, "other", since=since)
    assert set(_kept(database)) == {"mine", "answered"}


@pytest.mark.parametrize(("older_than", "left"), [(HOUR, {"new"}), (3 * HOUR, {"new", "old"})])
def test_what_was_answered_long_ago_is_forgotten(
    database: Database, older_than: float, left: set[str]
) -> None:
    _answered(database, "new")
    _answered(database, "old", ago=2 * HOUR)
    with database.begin() as session:
        idempotency.purge(session, older_than=older_than, span=HOUR)
    assert set(_kept(database)) == left
