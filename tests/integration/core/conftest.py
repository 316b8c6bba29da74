"""Empty databases and stores, to restore a backup into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from masktune.contract.ids import new_id
from tests.conftest import postgres_database
from tests.integration.core.backups import MakeDatabase


@pytest.fixture
def make_database(tmp_path: Path) -> Iterator[MakeDatabase]:
    """Addresses of empty databases of a kind."""
    with ExitStack() as stack:

        def make(kind: str) -> str:
            if kind == "sqlite":
                return f"sqlite:///{tmp_path}/{new_id('job')}.db"
            return stack.enter_context(postgres_database())

        yield make


@pytest.fixture
def other_artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(f"file://{tmp_path}/restored", cache=tmp_path / "other-cache")
