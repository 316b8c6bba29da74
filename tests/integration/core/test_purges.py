"""A clock that is wrong for a while does not empty the audit log, nor stored responses and counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.session import Database, db_now
from core.settings import Settings
from core.sweep import DAY, purge, sweep
from core.tables import AuditRow, IdempotencyRow, PurgeRow, ServedRow
from masktune.contract.vocabulary import UsageKind

YEAR = 365 * DAY


def _fill(database: Database, *, days: list[float]) -> None:
    """An entry, a stored response and a count that are this old."""
    with database.begin() as session:
        now = session.execute(select(db_now())).scalar_one()
        for number, age in enumerate(days):
            at = now - age * DAY
            name = f"{age:g}-{number}"
            entry = {"actor": "a", "action": "edit_job", "object": "o", "status": 200, "request_id": "r"}
            session.add(AuditRow(id=name, created_at=at, **entry))
            session.add(IdempotencyRow(key=name, fingerprint="f", status=200, at=at))
            session.add(
                ServedRow(
                    model_id=name, calibration_id="", hour=int(at // 3600), what=UsageKind.INPUTS, count=1
                )
            )


def _turn_clock(database: Database, seconds: float) -> None:
    """Turn the clock of the database ahead, or back: all that is in it gets older, or younger."""
    with database.begin() as session:
        session.execute(update(AuditRow).values(created_at=AuditRow.created_at - seconds))
        session.execute(update(IdempotencyRow).values(at=IdempotencyRow.at - seconds))
        session.execute(update(PurgeRow).where(PurgeRow.at > 0).values(at=PurgeRow.at - seconds))
        session.execute(update(ServedRow).values(hour=ServedRow.hour - int(seconds // 3600)))


def _purge(database: Database, *, audit_days: float = 365.0) -> None:
    with database.begin() as session:
        purge(session, audit_seconds=audit_days * DAY, delivery_seconds=30 * DAY)


def _counts(database: Database) -> tuple[int, int, int]:
    """Entries, stored responses, counts."""
    with database.read() as session:
        entries = session.scalars(select(AuditRow.id)).all()
        responses = session.scalars(select(IdempotencyRow.key)).all()
        counts = session.scalars(select(ServedRow.model_id)).all()
    return len(entries), len(responses), len(counts)


def test_a_clock_ten_years_ahead_costs_the_oldest_day_at_most(database: Database, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _fill(database, days=[0.1, 0.2, 0.5, 3, 3.5, 10, 10.4, 10.6])
    _turn_clock(database, 10 * YEAR)
    for _ in range(5):
        sweep(database, settings)
    assert _counts(database) == (5, 5, 5)
    _turn_clock(database, -10 * YEAR)
    sweep(database, settings)
    assert _counts(database)[0] == 5


def test_a_clock_that_stays_wrong_costs_a_day_a_day(database: Database) -> None:
    _fill(database, days=[0.1, 3, 3.5, 10, 10.4])
    _turn_clock(database, 10 * YEAR)
    for left in (3, 3, 1, 1, 0):
        _purge(database)
        assert _counts(database) == (left, left, left)
        _turn_clock(database, DAY / 2)


def test_once_the_clock_is_right_again_the_purges_go_on_after_a_day(database: Database) -> None:
    _fill(database, days=[500, 400, 300])
    _turn_clock(database, 10 * YEAR)
    _purge(database)
    _turn_clock(database, -10 * YEAR)
    for _ in range(3):
        _purge(database)
    assert _counts(database)[0] == 2
    _turn_clock(database, DAY + 60)
    _purge(database)
    assert _counts(database)[0] == 1


def test_a_clock_behind_deletes_nothing_and_holds_nothing_up(database: Database) -> None:
    _fill(database, days=[500, 450, 300])
    _purge(database)
    _turn_clock(database, -10 * YEAR)
    _purge(database)
    assert _counts(database)[0] == 2
    _turn_clock(database, 10 * YEAR)
    _purge(database)
    assert _counts(database)[0] == 1


def test_what_expires_day_by_day_goes_day_by_day(database: Database) -> None:
    _fill(database, days=[364.5 - 1.01 * day for day in range(5)])
    for left in (5, 4, 3, 2, 1, 0):
        _purge(database)
        _purge(database)
        assert _counts(database)[0] == left
        _turn_clock(database, DAY + 5)


@pytest.mark.parametrize(("audit_days", "left"), [(30.0, 1), (365.0, 4), (1000.0, 4)])
def test_a_lower_limit_takes_effect_at_once(audit_days: float, left: int, database: Database) -> None:
    _fill(database, days=[300, 200, 100, 20])
    _purge(database)
    _turn_clock(database, DAY + 5)
    _purge(database, audit_days=audit_days)
    assert _counts(database)[0] == left
