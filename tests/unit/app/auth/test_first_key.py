"""The first key: made once, revocable, and never for an empty database in the place of another."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from app.auth.first_key import NAME, DatabaseLost, ensure_first_key
from app.auth.keyring import Caller, created_keys
from core.queries import keys
from core.session import Database
from masktune.contract.vocabulary import Scope
from tests.support.databases import sqlite_database


def new_database(folder: Path) -> Database:
    return Database(sqlite_database(folder))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path / "one")) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "first"


def valid(database: Database) -> list[Caller]:
    return [caller for _, caller in created_keys(database)]


def test_it_is_made_once_for_its_owner_alone(database: Database, file: Path) -> None:
    assert ensure_first_key(database, file)
    secret = file.read_text()
    assert not ensure_first_key(database, file)
    assert file.read_text() == secret
    assert file.stat().st_mode & 0o777 == 0o600
    (caller,) = valid(database)
    assert (caller.name, caller.scopes) == (NAME, frozenset({Scope.ADMIN}))


def test_it_stays_revoked(database: Database, file: Path) -> None:
    ensure_first_key(database, file)
    with database.begin() as session:
        keys.revoke(session, valid(database)[0].id)
    assert not ensure_first_key(database, file)
    assert valid(database) == []


@pytest.mark.parametrize("left", ["", "mt_secret"])
def test_a_start_that_was_interrupted_is_finished(database: Database, file: Path, left: str) -> None:
    unconfirmed = file.with_name("first.new")
    unconfirmed.touch(mode=0o600)
    unconfirmed.write_text(left)
    assert ensure_first_key(database, file)
    assert file.read_text() == left or not left
    assert len(file.read_text()) >= len("mt_secret")
    assert not unconfirmed.exists()
    assert len(valid(database)) == 1


def _readable(unconfirmed: Path) -> None:
    unconfirmed.write_text("mt_known")
    unconfirmed.chmod(0o644)


def _symlink(unconfirmed: Path) -> None:
    unconfirmed.symlink_to(_known(unconfirmed))


def _hard_link(unconfirmed: Path) -> None:
    unconfirmed.hardlink_to(_known(unconfirmed))


def _known(unconfirmed: Path) -> Path:
    """A file beside it with a secret that another knows."""
    target = unconfirmed.with_name("target")
    target.touch(mode=0o600)
    target.write_text("mt_known")
    return target


def _pipe(unconfirmed: Path) -> None:
    os.mkfifo(unconfirmed, 0o600)


@pytest.mark.parametrize("prepare", [_readable, _symlink, _hard_link, _pipe])
def test_a_file_that_another_prepared_is_replaced(
    prepare: Callable[[Path], None], database: Database, file: Path
) -> None:
    prepare(file.with_name("first.new"))
    assert ensure_first_key(database, file)
    assert file.read_text() != "mt_known"
    assert not file.is_symlink()
    status = file.stat()
    assert (status.st_mode & 0o777, status.st_nlink) == (0o600, 1)
    target = file.with_name("target")
    assert not target.exists() or target.read_text() == "mt_known"
    assert len(valid(database)) == 1


def test_an_empty_database_does_not_take_the_place_of_a_lost_one(
    database: Database, file: Path, tmp_path: Path
) -> None:
    ensure_first_key(database, file)
    with closing(new_database(tmp_path / "two")) as empty:
        with pytest.raises(DatabaseLost, match="restore"):
            ensure_first_key(empty, file)
        assert valid(empty) == []
        ensure_first_key(empty, tmp_path / "another")  # as after a restore of another service's backup
        assert not ensure_first_key(empty, file)
        assert len(valid(empty)) == 2


def test_a_lost_file_makes_another_key(database: Database, file: Path) -> None:
    ensure_first_key(database, file)
    file.unlink()
    assert ensure_first_key(database, file)
    assert len(valid(database)) == 2


def test_starts_at_the_same_time_make_one_key(database: Database, tmp_path: Path) -> None:
    for number in range(20):
        file = tmp_path / f"first-{number}"
        with ThreadPoolExecutor(3) as starts:
            made = list(starts.map(lambda _, file=file: ensure_first_key(database, file), range(3)))
        assert sorted(made) == [False, False, True]
        assert len(valid(database)) == number + 1
