"""`masktune migrate` in several processes at once, as when all parts of a service start together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.auth.keyring import created_keys
from core import schema
from core.session import Database
from tests.support.databases import postgres_database

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/masktune.db"
    else:
        with postgres_database() as database:
            yield database


def test_three_at_once_end_well_with_one_database_and_one_key(url: str, tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "MASKTUNE_DATABASE_URL": url,
        "MASKTUNE_DATA_DIR": str(tmp_path),
        "MASKTUNE_FIRST_KEY_FILE": str(tmp_path / "first"),
        "MASKTUNE_API_KEYS": "",
    }
    command = [sys.executable, "-m", "masktune.cli", "migrate"]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)
        for _ in range(3)
    ]
    told = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    assert sum("made the first admin key" in out for out, _ in told) == 1
    with closing(Database(url)) as database:
        assert schema.is_current(database)
        assert len(created_keys(database)) == 1
    assert sorted(path.name for path in tmp_path.glob("first*")) == ["first"]
