"""Migrations as a deployment meets them: several replicas start at once on a database that has rows in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from core import schema
from core.session import Database
from tests.conftest import postgres_database

ROOT = Path(__file__).parents[3]
REVISIONS = [script.revision for script in ScriptDirectory.from_config(schema.config()).walk_revisions()][
    ::-1
]
PREVIOUS, HEAD = REVISIONS[-2:]

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a table."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            yield f"sqlite:///{tmp_path}/masktune.db"
        else:
            yield stack.enter_context(postgres_database())


def tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def something(column: sa.Column[Any]) -> Any:
    """A value that the column takes."""
    kind = column.type
    if isinstance(kind, (sa.JSON, postgresql.JSONB)):
        return {"a": [1, "×"]}
    if isinstance(kind, sa.LargeBinary):
        return b"\0bytes"
    if isinstance(kind, sa.String):
        return f"{column.name}×"[: kind.length]
    if isinstance(kind, (sa.Double, sa.Float)):
        return 0.5
    assert isinstance(kind, sa.Integer)
    return 7


def fill(url: str) -> Rows:
    """One row in every table; what they hold."""
    database = Database(url)
    with database.engine.begin() as connection:
        for table in tables(connection):
            values = {column.name: something(column) for column in table.columns}
            for key in table.foreign_keys:
                values[key.parent.name] = something(key.column)
            connection.execute(table.insert().values(values))
    database.close()
    return read(url)


def read(url: str) -> Rows:
    database = Database(url)
    with database.engine.connect() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in tables(connection)
        }
    database.close()
    return found


def kept(before: Rows, after: Rows) -> Rows:
    """`after`, with the tables and columns that `before` had."""
    return {
        name: [{column: row[column] for column in rows[0]} for row in after[name]]
        for name, rows in before.items()
    }


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_an_upgrade_from_any_revision_keeps_every_row(empty: str, revision: str) -> None:
    schema.upgrade(empty, revision)
    before = fill(empty)
    schema.upgrade(empty)
    assert kept(before, read(empty)) == before


def test_there_is_no_downgrade_across_revision_0011(empty: str) -> None:
    schema.upgrade(empty)
    before = fill(empty)
    with closing(Database(empty)) as database, database.engine.connect() as connection:
        with pytest.raises(RuntimeError, match="restore the backup"):
            command.downgrade(schema.config(connection), "0010")
    assert read(empty) == before


def test_tables_are_recreated_at_any_revision_beside_those_of_others(empty: str) -> None:
    schema.upgrade(empty)
    with closing(Database(empty)) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE of_another_program (id INTEGER)"))
        schema.recreate(empty, "0002")
        with database.engine.connect() as connection:
            names = {table.name for table in tables(connection)}
    assert "served" in names
    assert "keys" not in names
    assert "of_another_program" in names


def test_replicas_that_start_together_upgrade_the_previous_revision_once(empty: str, tmp_path: Path) -> None:
    """Whoever came second would find the column there already, and fail."""
    schema.upgrade(empty, PREVIOUS)
    before = fill(empty)
    environment = os.environ | {
        "MASKTUNE_DATABASE_URL": empty,
        "MASKTUNE_DATA_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "masktune.cli", "migrate"],
            cwd=tmp_path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [replica.communicate(timeout=60)[1] for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0] * 4, said
    assert kept(before, read(empty)) == before
    database = Database(empty)
    assert schema.is_current(database)
    database.close()


def test_an_upgrade_that_breaks_leaves_the_database_as_it_was(empty: str) -> None:
    """Of the migrations that are missing, either all are applied or none."""
    schema.upgrade(empty, "0002")
    with closing(Database(empty)) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN traceparent VARCHAR(55)"))
        with pytest.raises(sa.exc.DBAPIError):  # 0003 works, and 0004 finds the column there already
            schema.upgrade(empty)
        with database.engine.connect() as connection:
            applied = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
            names = {table.name for table in tables(connection)}
    assert applied == "0002"
    assert "keys" not in names


def test_a_version_works_on_the_database_of_the_next(empty: str) -> None:
    """Replicas are replaced one after another, and the old ones go on meanwhile, ready and restarted."""
    schema.upgrade(empty)
    before = fill(empty)
    with closing(Database(empty)) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN of_the_next VARCHAR(5)"))
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        schema.upgrade(empty)
        assert schema.is_current(database)
        assert kept(before, read(empty)) == before


def test_the_version_before_adds_rows_to_the_database_of_this_one(empty: str) -> None:
    """Its replicas go on until they are replaced; what it does not know must have a default."""
    schema.upgrade(empty, PREVIOUS)
    known = fill(empty)
    schema.upgrade(empty)
    with closing(Database(empty)) as database, database.engine.begin() as connection:
        found = tables(connection)
        for table in reversed(found):
            connection.execute(table.delete())
        for table in (table for table in found if table.name in known):
            connection.execute(table.insert(), known[table.name])
    assert kept(known, read(empty)) == known


@contextmanager
def backing_up(url: str) -> Iterator[None]:
    """A transaction that has read the jobs and goes on, as that of a backup."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM jobs"))
        yield


@pytest.mark.parametrize("empty", ["postgresql"], indirect=True)
def test_a_migration_that_waits_for_a_backup_lets_the_service_go_on(empty: str) -> None:
    """Who wants a table for itself holds up all that come after it: also those that only read."""
    schema.upgrade(empty, "0006")
    with ThreadPoolExecutor() as pool, closing(Database(empty)) as database:
        with backing_up(empty):
            upgraded = pool.submit(schema.upgrade, empty, patience=schema.Patience(0.5, 0.2))
            for _ in range(20):
                with database.engine.begin() as connection:
                    connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
                    connection.execute(sa.text("SELECT count(*) FROM jobs"))
                time.sleep(0.05)
            assert not upgraded.done()
        upgraded.result(timeout=60)
        assert schema.is_current(database)


@pytest.mark.parametrize("empty", ["postgresql"], indirect=True)
def test_a_migration_does_not_wait_for_ever(empty: str, caplog: pytest.LogCaptureFixture) -> None:
    schema.upgrade(empty, "0006")
    with backing_up(empty), pytest.raises(sa.exc.OperationalError, match="lock timeout"):
        schema.upgrade(empty, patience=schema.Patience(0.1, 0.01, tries=3))
    assert caplog.text.count("it is tried again") == 2
    with closing(Database(empty)) as database:
        assert not schema.is_current(database)


def test_a_migration_is_one_line_in_the_log_and_none_if_nothing_is_missing(
    empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "core.schema"):
        schema.upgrade(empty, "0002")
        schema.upgrade(empty, "0003")
        schema.upgrade(empty, "0003")
    lines = [record.getMessage() for record in caplog.records if record.name == "core.schema"]
    assert lines == [
        "the database was migrated from revision none to 0002",
        "the database was migrated from revision 0002 to 0003",
    ]


def test_a_database_that_lacks_a_migration_is_not_current(empty: str) -> None:
    with closing(Database(empty)) as database:
        assert not schema.is_current(database)
        schema.upgrade(empty, PREVIOUS)
        assert not schema.is_current(database)
