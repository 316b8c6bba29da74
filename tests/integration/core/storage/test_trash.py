"""Artifacts go with the rows that named them, whatever happens in between."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.queries import trash
from core.session import Database, after_commit
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.maintenance import run_maintenance
from core.storage.trash import RETRY_SECONDS, discard
from core.tables import TrashRow
from tests.support.stubborn_store import StubbornStore

KEYS = ("datasets/ds_1", "jobs/job_1/work")


@pytest.fixture
def settings(tmp_path: Path, database_url: str, stubborn: type[StubbornStore]) -> Settings:
    address = f"stubborn://{uuid.uuid4().hex}"
    return Settings(data_dir=tmp_path, database_url=database_url, storage_url=address)


@pytest.fixture
def store(settings: Settings) -> Artifacts:
    """With one artifact under each of the keys."""
    store = Artifacts(settings.storage, cache=settings.scratch / "cache")
    for key in KEYS:
        with store.writing(key) as folder:
            (folder / "file").write_text("x")
    return store


def left(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(TrashRow.key)))


def wait(database: Database) -> None:
    """As if the sweep had come so much later that it tries again."""
    with database.begin() as session:
        session.execute(update(TrashRow).values(at=TrashRow.at - RETRY_SECONDS - 1))


def test_artifacts_go_once_the_transaction_has_held(database: Database, store: Artifacts) -> None:
    with pytest.raises(RuntimeError), database.begin() as session:  # noqa: PT012  # the block is the point
        discard(session, database, store, KEYS)
        raise RuntimeError
    assert all(store.exists(key) for key in KEYS)
    assert left(database) == []
    with database.begin() as session:
        discard(session, database, store, KEYS)
        assert all(store.exists(key) for key in KEYS)
    assert not any(store.exists(key) for key in KEYS)
    assert left(database) == []


def test_a_kill_after_the_commit_leaves_it_to_the_sweep(
    database: Database, settings: Settings, store: Artifacts
) -> None:
    with database.begin() as session:
        trash.put(session, KEYS)  # and what was to follow the commit never ran
    run_maintenance(database, settings)
    assert left(database) == list(KEYS), "whoever put it there may still be at it"
    wait(database)
    run_maintenance(database, settings)
    assert not any(store.exists(key) for key in KEYS)
    assert left(database) == []


def test_a_store_that_is_away_fails_nothing_and_is_tried_again(
    database: Database, settings: Settings, store: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    StubbornStore.stuck = True
    with database.begin() as session:
        discard(session, database, store, KEYS)
    assert "datasets/ds_1 could not be deleted (the store is away)" in caplog.text
    assert StubbornStore.refused == 1, "a store that is away is not asked for every key"
    wait(database)
    run_maintenance(database, settings)
    assert left(database) == list(KEYS)
    StubbornStore.stuck = False
    run_maintenance(database, settings)
    assert left(database) == list(KEYS), "it waits again"
    wait(database)
    run_maintenance(database, settings)
    assert left(database) == []
    assert not any(store.exists(key) for key in KEYS)


def test_a_key_that_cannot_be_deleted_does_not_hold_up_the_others(
    database: Database, settings: Settings, store: Artifacts
) -> None:
    """Its turn comes again, behind those that were left for its sake."""
    with database.begin() as session:
        trash.put(session, KEYS)
    StubbornStore.stuck = KEYS[0]
    for _ in range(2):
        wait(database)
        run_maintenance(database, settings)
    assert left(database) == [KEYS[0]]
    assert [store.exists(key) for key in KEYS] == [True, False]


def test_a_key_is_put_there_twice(database: Database, store: Artifacts) -> None:
    for _ in range(2):
        with database.begin() as session:
            trash.put(session, KEYS)
    assert left(database) == list(KEYS)


def test_what_fails_after_a_commit_is_logged_and_hinders_nothing(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    def fail() -> None:
        raise RuntimeError("not now")

    with database.begin() as session:
        after_commit(session, fail)
        after_commit(session, lambda: ran.append("the next"))
    assert ran == ["the next"]
    assert "not now" in caplog.text
