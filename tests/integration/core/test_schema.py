"""Migrations: run once by however many processes, and equal to the tables in the code."""

from __future__ import annotations

import threading

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from core import schema
from core.session import Database
from core.tables import Table


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_the_version_is_known(database: Database) -> None:
    assert schema.is_current(database)


def test_replicas_that_start_together_migrate_once(database_url: str, database: Database) -> None:
    errors: list[Exception] = []
    Table.metadata.drop_all(database.engine)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")

    def start() -> None:
        try:
            schema.upgrade(database_url)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test must tell it
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert schema.is_current(database)
