"""Migrations as a deployment meets them: of databases that are empty, in use, newer, or too old."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core import schema
from core.session import Database
from core.tables import Table
from tests.integration.core.backups import rows
from tests.integration.core.databases import database_without_tables
from tests.stored.migration import DIALECTS, FIRST, FOLDER, statements
from tests.support.forks import in_forks

HEAD = "v0002"
NEWER = "v9999"
EARLIER = ("0001", "0016", "r0001", "r0001d")
"""Revisions of checkouts before the first release."""

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/masktune.db"
    else:
        with database_without_tables() as url:
            yield url


def something(column: sa.Column[Any]) -> Any:
    """A value that the column takes."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"a": [1, "×"]}
    if isinstance(kind, sa.LargeBinary):
        return b"\0bytes"
    if isinstance(kind, sa.Enum):
        return kind.enums[0]
    if isinstance(kind, sa.String):
        return f"{column.name}×"[: kind.length]
    if isinstance(kind, (sa.Double, sa.Float)):
        return 0.5
    if isinstance(kind, sa.Boolean):
        return True
    assert isinstance(kind, sa.Integer)
    return 7


def fill(url: str) -> Rows:
    """One row in every table; what they hold."""
    existing = sa.MetaData()
    with closing(Database(url)) as database, database.engine.begin() as connection:
        existing.reflect(connection, only=lambda name, _: name in Table.metadata.tables)
        for table in existing.sorted_tables:
            ours = Table.metadata.tables[table.name].columns
            values = {column.name: something(ours.get(column.name, column)) for column in table.columns}
            for key in table.foreign_keys:
                values[key.parent.name] = something(key.column)
            connection.execute(table.insert().values(values))
    return read(url)


def read(url: str) -> Rows:
    return {name: of_table for name, of_table in rows(url).items() if name != "alembic_version"}


def kept(before: Rows, after: Rows) -> Rows:
    """`after`, with the tables and columns that `before` had."""
    return {
        name: [{column: row[column] for column in rows[0]} for row in after[name]]
        for name, rows in before.items()
    }


def mark(url: str, revision: str) -> None:
    """Say that the tables are of this revision."""
    with closing(Database(url)) as database, database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :n"), {"n": revision})


def test_the_rows_of_the_first_release_are_kept(empty: str) -> None:
    schema.recreate(empty, FIRST)
    before = fill(empty)
    schema.upgrade(empty)
    assert all(before.values())
    before["models"] = [model | {"evaluations": {}} for model in before["models"]]
    before["reviews"] = [review | {"needed": None} for review in before["reviews"]]
    assert read(empty) == before | {"passes": []}
    with closing(Database(empty)) as database, database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_a_training_of_the_first_release_is_without_its_gpus(empty: str) -> None:
    schema.recreate(empty, FIRST)
    fill(empty)
    stored = "UPDATE jobs SET kind = :kind, params = :params, request = :request"
    params = {"epochs": 1, "gpus": 4, "batch_size": 0.1, "name": "×"}
    values = {"kind": "mitigate", "params": json.dumps(params), "request": "{}"}
    with closing(Database(empty)) as database, database.engine.begin() as connection:
        connection.execute(sa.text(stored), values)
    schema.upgrade(empty)
    (job,) = read(empty)["jobs"]
    assert list(job["params"].items()) == [("epochs", 1), ("batch_size", 0.1), ("name", "×")]
    assert job["request"] == {}


def test_tables_are_recreated_beside_those_of_others(empty: str) -> None:
    schema.upgrade(empty)
    fill(empty)
    with closing(Database(empty)) as database, database.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE of_another_program (id INTEGER)"))
        connection.execute(sa.text("INSERT INTO of_another_program VALUES (1)"))
    schema.recreate(empty, HEAD)
    found = read(empty)
    assert found.pop("of_another_program") == [{"id": 1}]
    assert set(found) == set(Table.metadata.tables)
    assert not any(found.values())


def test_a_migration_that_breaks_leaves_the_database_as_it_was(empty: str) -> None:
    """Either all tables are made or none."""
    with closing(Database(empty)) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE trash (id INTEGER)"))
        with pytest.raises(sa.exc.DBAPIError):  # there is one already
            schema.upgrade(empty)
        assert sa.inspect(database.engine).get_table_names() == ["trash"]
        assert not schema.is_current(database)


def test_a_version_works_on_the_database_of_the_next(empty: str) -> None:
    """Replicas are replaced one after another, and the old ones go on meanwhile, ready and restarted."""
    schema.upgrade(empty)
    before = fill(empty)
    with closing(Database(empty)) as database:
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE jobs ADD COLUMN of_the_next VARCHAR(5)"))
        mark(empty, NEWER)
        schema.upgrade(empty)
        assert schema.is_current(database)
        assert kept(before, read(empty)) == before


def test_the_database_of_an_earlier_checkout_is_refused_and_left_as_it_is(empty: str) -> None:
    schema.upgrade(empty)
    before = fill(empty)
    for revision in EARLIER:
        mark(empty, revision)
        with pytest.raises(
            schema.EarlierCheckout, match=f"revision {revision}.*start with an empty database"
        ):
            schema.upgrade(empty)
        assert read(empty) == before
        with closing(Database(empty)) as database:
            assert not schema.is_current(database)


def test_no_service_starts_on_the_database_of_an_earlier_checkout(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/masktune.db"
    schema.upgrade(url)
    mark(url, "0016")
    (ended,) = in_forks(1, "serve", DATA_DIR=str(tmp_path), PORT="0")
    assert (ended.code, ended.printed.splitlines()[-1]) == (
        1,
        "masktune: an earlier checkout made the database (revision 0016), and this version cannot read it; "
        "start with an empty database and an empty data folder",
    )
    assert "Traceback" not in ended.printed


@contextmanager
def backing_up(url: str) -> Iterator[None]:
    """A transaction that has read the jobs and goes on, as that of a backup."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM jobs"))
        yield


@pytest.mark.parametrize("empty", ["postgresql"], indirect=True)
def test_a_migration_that_waits_for_a_backup_lets_the_service_go_on(empty: str) -> None:
    """Who wants a table for itself holds up all that come after it: also those that only read."""
    schema.upgrade(empty)
    fill(empty)
    with ThreadPoolExecutor() as pool, closing(Database(empty)) as database:
        with backing_up(empty):
            migrated = pool.submit(
                schema.recreate, empty, HEAD, patience=schema.Patience(0.1, 0.05, tries=1000)
            )
            for _ in range(10):
                with database.engine.begin() as connection:
                    connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
                    connection.execute(sa.text("SELECT count(*) FROM jobs"))
                time.sleep(0.03)
            assert not migrated.done()
        migrated.result(timeout=60)
        assert schema.is_current(database)
    assert read(empty)["jobs"] == []


@pytest.mark.parametrize("empty", ["postgresql"], indirect=True)
def test_a_migration_does_not_wait_for_ever(empty: str, caplog: pytest.LogCaptureFixture) -> None:
    schema.upgrade(empty)
    before = fill(empty)
    with backing_up(empty), pytest.raises(sa.exc.OperationalError, match="lock timeout"):
        schema.recreate(empty, HEAD, patience=schema.Patience(0.1, 0.01, tries=3))
    assert caplog.text.count("it is tried again") == 2
    assert read(empty) == before


def test_a_migration_makes_a_database_current_with_one_line_in_the_log_and_none_if_nothing_is_missing(
    empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Database(empty)) as database, caplog.at_level("INFO", "core.schema"):
        assert not schema.is_current(database)
        for _ in range(2):
            schema.upgrade(empty)
            assert schema.is_current(database)
    lines = [record.getMessage() for record in caplog.records if record.name == "core.schema"]
    assert lines == [f"the database was migrated from revision none to {HEAD}"]


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_first_migration_is_that_of_the_first_release(dialect: str) -> None:
    """Databases have its tables: a change of them is another migration."""
    assert statements(FIRST, dialect) == (FOLDER / f"{FIRST}-{dialect}.sql").read_text()


def test_replicas_that_start_together_migrate_once(empty: str) -> None:
    with closing(Database(empty)) as database, ThreadPoolExecutor(4) as pool:
        assert not schema.is_current(database)  # and SQLite's file is there, in WAL mode
        for replica in [pool.submit(schema.upgrade, empty) for _ in range(4)]:
            replica.result()
        assert schema.is_current(database)
