"""A service on what version 0.1.0 left behind, kept in each of three ways; see `make_fixture.py`."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core import schema
from core.artifacts import Artifacts
from core.backup import restore
from core.settings import Settings
from tests.conftest import postgres_database
from tests.integration.app.conftest import Front, running

BEFORE = Path(__file__).with_name("before.tar.xz")


@dataclass(frozen=True)
class Old:
    """An upgraded service. `facts` says which id plays which part, and what the old version answered."""

    front: Front
    facts: dict[str, Any]
    rows: dict[str, int]
    """Table → rows that the old version left in it."""
    kept: dict[str, int]
    """The same after the upgrade, before anything ran that cleans up what is old."""

    def model(self, arm: str) -> str:
        """The id of a model of the masktune job, by its arm of today."""
        words = {"masktune_control": "control"}
        return str(self.facts["models"][words.get(arm, arm)])

    def get(self, path: str, *, key: str | None = None, **query: Any) -> Any:
        """The answer to the operator, or to the holder of another key."""
        headers = {"Authorization": f"Bearer {key or self.facts['operator']}"}
        answer = self.front.client.get(path, params=query, headers=headers)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.json() if "json" in answer.headers["content-type"] else answer

    def post(self, path: str, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.facts['operator']}"}
        answer = self.front.client.post(path, headers=headers, **more)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer.json()


@pytest.fixture(scope="package")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked fixture, not to be changed."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE) as packed:
        packed.extractall(folder, filter="data")
    return folder


def _embedded(before: Path, data: Path, stack: ExitStack) -> str:
    """The data folder, as it was."""
    shutil.copy(before / "data/masktune.db", data)
    shutil.copytree(before / "data/artifacts", data / "artifacts")
    return ""


def _postgresql(before: Path, data: Path, stack: ExitStack) -> str:
    """The same rows in PostgreSQL."""
    shutil.copytree(before / "data/artifacts", data / "artifacts")
    url = stack.enter_context(postgres_database())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        assert connection.connection.driver_connection is not None
        connection.connection.driver_connection.execute((before / "postgresql.sql").read_text("utf-8"))
    engine.dispose()
    return url


def _backup(before: Path, data: Path, stack: ExitStack) -> str:
    """The backup, restored into an empty service."""
    saved = data.with_name(f"{data.name}-backup")
    shutil.copytree(before / "backup", saved)
    shutil.copytree(before / "data/artifacts", saved / "artifacts")
    artifacts = Artifacts(f"file://{data}/artifacts", cache=data / "cache")
    restore(saved, f"sqlite:///{data}/masktune.db", artifacts)
    return ""


def _counted(url: str) -> dict[str, int]:
    engine, found = sa.create_engine(url), sa.MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        counts = {
            name: connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in found.tables.items()
            if name != "alembic_version"
        }
    engine.dispose()
    return counts


@pytest.fixture(scope="module", params=[_embedded, _postgresql, _backup], ids=lambda way: way.__name__[1:])
def old(
    request: pytest.FixtureRequest, before: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Old]:
    data, facts = tmp_path_factory.mktemp("upgraded"), json.loads((before / "facts.json").read_text())
    with ExitStack() as stack:
        url = request.param(before, data, stack)
        keys = f"admin:{facts['operator']}"
        settings = Settings(data_dir=data, database_url=url, api_keys=keys, threads=1, engine="torch")
        schema.upgrade(settings.database)
        kept = _counted(settings.database)
        front = stack.enter_context(running(settings))
        rows = json.loads((before / "backup/backup.json").read_text())["rows"]
        yield Old(front, facts, rows, kept)
