"""Deletes what has expired: at most the oldest day of it, at most once a day. Nothing here commits.

So a clock that is wrong for a while, and seconds are enough for a sweep, does not empty the audit log.
"""

from __future__ import annotations

import math

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.queries import audit, idempotency, served
from core.session import db_now
from core.tables import PurgeRow

DAY = 86_400.0

ANSWERS_SECONDS = DAY
"""How long an Idempotency-Key replays its first response, at least."""

SERVED_SECONDS = 90 * DAY
"""How long the counts of what a model was served are kept, at least."""

_ID = 1


def purge(session: Session, *, audit_seconds: float) -> None:
    """Delete stored responses, counts, and entries of the audit log that are older than `audit_seconds`,
    unless that was done within a day.

    If `audit_seconds` is less than it was, all older entries are deleted: the operator has asked for that.
    """
    last = _last(session, audit_seconds)
    now = session.execute(select(db_now())).scalar_one()
    if last is None:
        return
    if last.at > now:  # the clock was ahead then, or is behind now: wait a day from here
        last.at = now
    if now - last.at < DAY:
        return
    audit_span = DAY if audit_seconds >= last.audit_seconds else math.inf
    deleted = [
        idempotency.purge(session, older_than=ANSWERS_SECONDS, span=DAY),
        served.purge(session, older_than=SERVED_SECONDS, span=DAY),
        audit.purge(session, older_than=audit_seconds, span=audit_span),
    ]
    last.audit_seconds = audit_seconds
    if any(deleted):
        last.at = now


def _last(session: Session, audit_seconds: float) -> PurgeRow | None:
    """The row of the last purge, locked; None if another process writes it for the first time right now."""
    last = session.get(PurgeRow, _ID, with_for_update=True, populate_existing=True)
    if last is None:
        last = PurgeRow(id=_ID, audit_seconds=audit_seconds, at=0.0)
        try:
            with session.begin_nested():
                session.add(last)
        except IntegrityError:
            return None
    return last
