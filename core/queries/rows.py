"""What the queries of several tables share: add a row, list the newest, find the expired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, CursorResult, String, delete, func, or_, select
from sqlalchemy import column as column_of
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.errors import NotFound
from core.session import ago
from core.tables import (
    AuditRow,
    DatasetRow,
    DeliveryRow,
    JobRow,
    KeyRow,
    ModelRow,
    ReviewItemRow,
    Table,
    WebhookRow,
)

Row = TypeVar("Row", AuditRow, DatasetRow, DeliveryRow, JobRow, KeyRow, ModelRow, WebhookRow, ReviewItemRow)
_ROUNDING = 6e-7
"""Seconds: half a microsecond, and the last places of the doubles that are compared."""


@dataclass(frozen=True)
class Filters:
    """What the listed data sets, jobs or models must have in common; None and no pairs ask for nothing."""

    name: str | None = None
    created_by: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Pairs that must all be among the row's."""
    created_after: float | None = None
    """Seconds since 1970, as `created_at`; a row of this very moment is listed."""
    created_before: float | None = None
    """The same; a row of this very moment is not listed."""
    q: str | None = None
    """A text in the name, the id, a text of the metadata or the name of the data set, in either case."""

    def conditions(
        self, session: Session, table: type[DatasetRow] | type[JobRow] | type[ModelRow]
    ) -> list[ColumnElement[bool]]:
        """The SQL conditions on the rows of this table."""
        conditions: list[ColumnElement[bool]] = []
        if self.name is not None:
            conditions.append(table.name == self.name)
        if self.created_by is not None:
            conditions.append(table.created_by == self.created_by)
        conditions += created_between(table.created_at, self.created_after, self.created_before)
        # Not a JSON path: SQLite's has no way to quote a key with a quotation mark.
        is_postgres = session.get_bind().dialect.name == "postgresql"
        pairs_of = func.json_each_text if is_postgres else func.json_each
        pair = pairs_of(table.user_metadata).table_valued("key", column_of("value", String))
        for key, text in self.metadata.items():
            query = select(pair.c.key).where(pair.c.key == key, pair.c.value == text)
            conditions.append(query.exists())
        if self.q is not None:
            in_metadata = select(pair.c.key).where(pair.c.value.icontains(self.q, autoescape=True))
            places = [
                table.id.icontains(self.q, autoescape=True),
                table.name.icontains(self.q, autoescape=True),
            ]
            if not issubclass(table, DatasetRow):
                datasets = select(DatasetRow.id).where(DatasetRow.name.icontains(self.q, autoescape=True))
                places.append(table.dataset_id.in_(datasets))
            conditions.append(or_(*places, in_metadata.exists()))
        return conditions


def created_between(
    created_at: InstrumentedAttribute[float], after: float | None, before: float | None
) -> list[ColumnElement[bool]]:
    """The SQL conditions on rows created at `after` or later, and before `before`; None is no bound.

    SQLite keeps moments finer than the microseconds
    that an answer rounds them to, so the one printed
    may be a little later than its row, and finds it.
    """
    conditions: list[ColumnElement[bool]] = []
    if after is not None:
        conditions.append(created_at >= after - _ROUNDING)
    if before is not None:
        conditions.append(created_at < before - _ROUNDING)
    return conditions


def expired(at: InstrumentedAttribute[float], older_than: float, span: float) -> list[ColumnElement[bool]]:
    """The SQL conditions on the rows older than `older_than` seconds, of these the oldest `span` seconds."""
    oldest = select(func.min(at)).scalar_subquery()
    return [at < ago(older_than), at < oldest + span]


def delete_where(session: Session, table: type[Table], *conditions: ColumnElement[bool]) -> int:
    """Delete these rows; return how many."""
    result = session.execute(delete(table).where(*conditions))
    assert isinstance(result, CursorResult)  # `execute` of a session promises less
    return result.rowcount


def insert_into(session: Session, table: type[Table]) -> postgresql.Insert | sqlite.Insert:
    """An insert that may say what is done on a conflict: the dialect of each database has its own."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)


NO_FILTERS = Filters()


def add(session: Session, row: Row) -> Row:
    """Insert the row, and read what the database has filled in."""
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get_row(
    session: Session, table: type[Row], id: str, kind: str, *, lock: bool | dict[str, Any] = False
) -> Row:
    """The row with this id, or `NotFound`.
    `kind` is what people call such a row; `lock` as SQLAlchemy's `with_for_update`."""
    row = session.get(table, id, with_for_update=lock)
    if row is None:
        raise NotFound(f"there is no {kind} {id}; see the list of {kind}s")
    return row


def newest_first(
    session: Session,
    table: type[Row],
    *,
    before: tuple[float, str] | None,
    limit: int,
    where: Mapping[InstrumentedAttribute[Any], object] | None = None,
    conditions: Iterable[ColumnElement[bool]] = (),
) -> list[Row]:
    """At most `limit` rows after the (created_at, id) `before` of the last one seen, newest first.

    None values in `where` are ignored.
    """
    query = select(table).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
    query = query.where(*conditions)
    if before is not None:
        at, last = before
        query = query.where((table.created_at < at) | ((table.created_at == at) & (table.id < last)))
    for column, term in (where or {}).items():
        if term is not None:
            query = query.where(column == term)
    return list(session.scalars(query))
