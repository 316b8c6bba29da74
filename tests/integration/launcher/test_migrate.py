"""`masktune migrate` in several processes at once, as when all parts of a service start together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.auth.keyring import created_keys
from core import schema
from core.session import Database
from tests.support.databases import postgres_database
from tests.support.forks import in_forks


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/masktune.db"
    else:
        with postgres_database() as database:
            yield database


def test_three_at_once_end_well_with_one_database_and_one_key(url: str, tmp_path: Path) -> None:
    first = str(tmp_path / "first")
    told = in_forks(3, "migrate", DATABASE_URL=url, DATA_DIR=str(tmp_path), FIRST_KEY_FILE=first, API_KEYS="")
    assert [done.code for done in told] == [0, 0, 0], told
    assert sum("made the first admin key" in done.printed for done in told) == 1
    with closing(Database(url)) as database:
        assert schema.is_current(database)
        assert len(created_keys(database)) == 1
    assert sorted(path.name for path in tmp_path.glob("first*")) == ["first"]
