"""What the queries of several tables share: add a row, list the newest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.tables import DatasetRow, JobRow, KeyRow, ModelRow

Row = TypeVar("Row", DatasetRow, JobRow, KeyRow, ModelRow)


def add(session: Session, row: Row) -> Row:
    """Insert the row, and read what the database has filled in."""
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def newest_first(
    session: Session,
    table: type[Row],
    *,
    before: tuple[float, str] | None,
    limit: int,
    where: Mapping[InstrumentedAttribute[Any], object] | None = None,
) -> list[Row]:
    """At most `limit` rows after the (created_at, id) `before` of the last one seen, newest first.

    None values in `where` are ignored.
    """
    query = select(table).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
    if before is not None:
        at, last = before
        query = query.where((table.created_at < at) | ((table.created_at == at) & (table.id < last)))
    for column, term in (where or {}).items():
        if term is not None:
            query = query.where(column == term)
    return list(session.scalars(query))
