"""A service with something of every kind in it, to be backed up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import sqlalchemy as sa

from core.queries import jobs, registry
from core.session import Database
from core.storage.artifacts import Artifacts
from core.tables import AuditRow, JobRow, KeyRow, Table
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind
from tests.support.rows import model_row

MakeDatabase = Callable[[str], str]


def furnish(url: str, artifacts: Artifacts) -> str:
    """Put something of every kind into a service that has nothing; return the id of its job."""
    with artifacts.writing("models/mdl_1") as folder:
        (folder / "model.json").write_text("{}")
        (folder / "deep").mkdir()
        (folder / "deep" / "weights").write_bytes(bytes(1000))
    with artifacts.writing("jobs/job_1/erm") as folder:
        (folder / "net").write_bytes(b"n")
    with closing(Database(url)) as database, database.begin() as session:
        job = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={"×": [1.5, None]}))
        session.add(KeyRow(id="key_1", name="x", owner="ä", digest=bytes(range(32)), scopes=["read"]))
        session.add(
            AuditRow(
                id="aud_1",
                actor="key_1",
                action="edit_job",
                object=job.id,
                status=200,
                request_id="a",
                address="::1",
            )
        )
        below = registry.share_backbone(session, "digest", "backbones/mdl_1")
        session.add(model_row(id="mdl_1", classes=["left", "×"], backbone_artifact=below))
    return job.id


def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """Those of each table by their keys: in the columns that the service has, as far as they are there, and
    all columns of what others have."""
    ours = Table.metadata.tables
    with closing(Database(url)) as database, database.engine.connect() as connection:
        there = sa.inspect(connection)
        columns = {name: {one["name"] for one in there.get_columns(name)} for name in there.get_table_names()}
        return {
            name: [dict(row) for row in connection.execute(selected).mappings()]
            for name in columns
            for selected in [
                sa.select(*(one for one in ours[name].columns if one.name in columns[name])).order_by(
                    *ours[name].primary_key
                )
                if name in ours
                else sa.text(f"SELECT * FROM {name}")
            ]
        }
