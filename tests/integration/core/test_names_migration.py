"""Revision 0012 gives names and metadata to what there is, and says who created it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from core import schema
from core.queries import datasets, jobs
from core.session import Database
from core.tables import ModelRow
from tests.conftest import postgres_database
from tests.integration.core.test_arms_migration import insert, job


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/masktune.db"
        if request.param == "postgresql":
            url = stack.enter_context(postgres_database())
        schema.upgrade(url, "0011")
        yield stack.enter_context(closing(Database(url)))


def test_what_a_job_made_was_created_by_who_started_it(database: Database) -> None:
    insert(database, "jobs", job("job_1", "import", owner="key_1"), job("job_2", "erm", owner="key_2"))
    made = {"name": "birds", "state": "ready", "format": "auto"}
    insert(database, "datasets", {"id": "ds_1", "job_id": "job_1"} | made)
    network = {"arm": "erm", "backbone": "small_cnn", "artifact": "models/1"}
    insert(database, "models", {"id": "mdl_1", "job_id": "job_2"} | network, {"id": "mdl_2"} | network)
    schema.upgrade(database.engine.url.render_as_string(hide_password=False))
    with database.read() as session:
        dataset, started = datasets.get(session, "ds_1"), jobs.get(session, "job_2")
        models = [session.get_one(ModelRow, name) for name in ("mdl_1", "mdl_2")]
    assert (dataset.created_by, started.created_by) == ("key_1", "key_2")
    assert [model.created_by for model in models] == ["key_2", None]
    assert dataset.user_metadata == started.user_metadata == models[0].user_metadata == {}
    assert (dataset.name, started.name, models[0].name) == ("birds", None, None)
