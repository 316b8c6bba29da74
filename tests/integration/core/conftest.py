"""Empty databases and stores, of which PostgreSQL has one for many tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from core.storage.backup import save
from masktune.contract.ids import new_id
from tests.integration.core.backups import MakeDatabase, furnish
from tests.integration.core.databases import database_on
from tests.support.databases import sqlite_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated database, on each of the two engines."""
    with database_on(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def make_database(tmp_path: Path) -> Iterator[MakeDatabase]:
    """Addresses of databases of a kind, with tables but without rows: of PostgreSQL's one a test."""
    with ExitStack() as stack:

        def make(kind: str) -> str:
            return stack.enter_context(database_on(kind, tmp_path / new_id("job")))

        yield make


@pytest.fixture(scope="session")
def _saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    url, artifacts = sqlite_database(folder), Artifacts(f"file://{folder}/artifacts", cache=folder / "cache")
    furnish(url, artifacts)
    save(url, artifacts, folder / "backup")
    return folder / "backup"


@pytest.fixture
def backup(_saved: Path, tmp_path: Path) -> Path:
    """The folder of a backup, which the test may change."""
    return Path(shutil.copytree(_saved, tmp_path / "backup"))


@pytest.fixture
def other_artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(f"file://{tmp_path}/restored", cache=tmp_path / "other-cache")
