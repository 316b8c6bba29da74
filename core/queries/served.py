"""SQL for the hourly counts of what models were served.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.queries.rows import delete_where, insert_into
from core.session import db_now
from core.tables import ServedRow
from masktune.contract.vocabulary import UsageKind

HOUR = 3600


class Key(NamedTuple):
    """What is counted, for which model, under which calibration ("" if it has none)."""

    model_id: str
    calibration_id: str
    what: UsageKind


class Totals(NamedTuple):
    """Sums over the requested hours, and the first of these hours with a count (None if there is none)."""

    counts: dict[UsageKind, int]
    first_hour: int | None


def add(session: Session, counts: Mapping[Key, int]) -> None:
    """Add to the current hour, in one upsert so that replicas do not overwrite each other's counts."""
    if not counts:
        return
    hour = _hour(session)
    # Lock in the same order everywhere, so that two replicas with the same rows cannot deadlock.
    rows = [{**key._asdict(), "hour": hour, "count": counts[key]} for key in sorted(counts)]
    statement = insert_into(session, ServedRow).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[ServedRow.model_id, ServedRow.calibration_id, ServedRow.hour, ServedRow.what],
            set_={"count": ServedRow.count + statement.excluded.count},
        )
    )


def totals(session: Session, model_id: str, calibration_id: str, *, hours: int) -> Totals:
    """The totals over the last `hours`, including the current one."""
    here = (
        ServedRow.model_id == model_id,
        ServedRow.calibration_id == calibration_id,
        ServedRow.hour > _hour(session) - hours,
    )
    query = select(ServedRow.what, func.sum(ServedRow.count)).where(*here).group_by(ServedRow.what)
    counts = {what: int(count) for what, count in session.execute(query)}
    first = session.execute(select(func.min(ServedRow.hour)).where(*here)).scalar_one()
    return Totals(counts, first)


def forget(session: Session, model_id: str) -> None:
    """Delete the counts of a model that is being deleted."""
    session.execute(delete(ServedRow).where(ServedRow.model_id == model_id))


def purge(session: Session, *, older_than: float, span: float) -> int:
    """Delete counts older than `older_than` seconds, of these the oldest `span` seconds; return how many."""
    oldest = select(func.min(ServedRow.hour)).scalar_subquery()
    old = ServedRow.hour < _hour(session) - int(older_than // HOUR)
    return delete_where(session, ServedRow, old, ServedRow.hour < oldest + span / HOUR)


def _hour(session: Session) -> int:
    return int(session.execute(select(db_now())).scalar_one() // HOUR)
