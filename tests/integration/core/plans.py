"""How a database answers a query among thousands of rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, event, text

from core.session import Database

_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) "


def copy_row(database: Database, table: str) -> None:
    """Add 3,000 copies of the table's only row, and measure the table for the planner."""
    with database.begin() as session:
        row = session.execute(text(f"SELECT * FROM {table}")).mappings().one()
        columns = ", ".join(column for column in row if column != "id")
        session.execute(
            text(f"INSERT INTO {table} (id, {columns}) {_NUMBERS} SELECT 'x' || i, {columns} FROM n, {table}")
        )
        session.execute(text(f"ANALYZE {table}"))


def record_plans(database: Database) -> list[str]:
    """A list to which the plan of each later SELECT is added."""
    explain = "EXPLAIN" if database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    plans: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def look(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(f"{explain} {statement}", parameters)
            plans.append(str(cursor.fetchall()))

    return plans
