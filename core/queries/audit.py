"""SQL for the audit log. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from core.queries.rows import created_between, delete_where, expired, newest_first
from core.tables import AuditRow


@dataclass(frozen=True)
class AuditFilters:
    """What the listed entries must have in common; None asks for nothing."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    created_after: float | None = None
    """Seconds since 1970; an entry of this very moment is listed."""
    created_before: float | None = None
    """The same; an entry of this very moment is not listed."""


def listing(
    session: Session, filters: AuditFilters, *, before: tuple[float, str] | None, limit: int
) -> list[AuditRow]:
    """Entries, newest first, after the (created_at, id) of the last one seen."""
    conditions = created_between(AuditRow.created_at, filters.created_after, filters.created_before)
    where = {
        AuditRow.actor: filters.actor,
        AuditRow.action: filters.action,
        AuditRow.object: filters.object,
    }
    return newest_first(session, AuditRow, before=before, limit=limit, where=where, conditions=conditions)


def purge(session: Session, *, older_than: float, span: float) -> int:
    """Delete entries older than `older_than` seconds, of these the oldest `span` seconds; return how many.

    This is the only way in which the log loses any.
    """
    return delete_where(session, AuditRow, *expired(AuditRow.created_at, older_than, span))
