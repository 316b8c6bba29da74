"""Revision 0011 rewrites the arms and the groups that version 0.1.0 stored, and nothing that users named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core import schema
from core.queries import jobs, registry
from core.session import Database
from core.tables import EventRow
from masktune.contract.vocabulary import Arm
from tests.conftest import postgres_database

FIGURES = {"test": {"accuracy": 0.5, "groups": {"control": 0.4, "given": 0.6}}}
"""Of a data set whose groups are called as the arms were."""


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/masktune.db"
        if request.param == "postgresql":
            url = stack.enter_context(postgres_database())
        schema.upgrade(url, "0010")
        yield stack.enter_context(closing(Database(url)))


def insert(database: Database, table: str, *rows: dict[str, Any]) -> None:
    """Insert rows; numbers and objects that they leave out are 0 and empty."""
    with database.engine.begin() as connection:
        found = sa.MetaData()
        found.reflect(connection)
        columns = found.tables[table].columns
        for row in rows:
            left_out: dict[str, Any] = {
                column.name: {} if isinstance(column.type, sa.JSON) else 0
                for column in columns
                if not column.nullable and not isinstance(column.type, sa.String)
            }
            connection.execute(found.tables[table].insert().values(left_out | row))


def job(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "kind": kind, "state": "succeeded"} | fields


def compared(*arms: str) -> dict[str, Any]:
    """The fields of a job that compared these arms."""
    models, metrics = {arm: f"mdl_{arm}" for arm in arms}, dict.fromkeys(arms, FIGURES)
    done = {"evaluate": {"artifact": "a", "models": models, "metrics": metrics}}
    return {"models": models, "metrics": metrics, "done": done, "inputs": {"model_ids": models}}


def test_each_job_says_which_control_it_has(database: Database) -> None:
    heads = compared("given", "retrained", "control")
    heads["done"]["control"] = {"artifact": "b", "models": [{"id": "mdl_control", "arm": "control"}]}
    masked = compared("erm", "masktune", "control")
    for fields in (masked, masked["done"]["evaluate"]):
        fields["models"] = masked["models"] | {"control": "mdl_of_masktune"}
    masked["inputs"] = {"model_ids": masked["models"]}
    insert(
        database,
        "jobs",
        job("job_heads", "retrain_head", params={"groups": "given", "control": True}, **heads),
        job("job_masked", "masktune", params={"control": True}, **masked),
        job("job_of_head", "evaluate", **compared("erm", "control") | {"inputs": {"model": "mdl_control"}}),
    )
    insert(
        database,
        "events",
        {"job_id": "job_heads", "seq": 1, "type": "metrics", "data": dict.fromkeys(heads["models"], FIGURES)},
        {"job_id": "job_heads", "seq": 2, "type": "stage", "data": {"stage": "control"}},
    )
    schema.upgrade(database.engine.url.render_as_string(hide_password=False))
    with database.read() as session:
        rows = {name: jobs.get(session, f"job_{name}") for name in ("heads", "masked", "of_head")}
        events = {seq: session.get_one(EventRow, ("job_heads", seq)).data for seq in (1, 2)}
    arms = {"baseline", "retrained", "retrained_control"}
    for row, expected in (
        (rows["heads"], arms),
        (rows["masked"], {"erm", "masktune", "masktune_control"}),
        (rows["of_head"], {"erm", "retrained_control"}),
    ):
        judged = row.done["evaluate"]
        assert row.models.keys() == row.metrics.keys() == expected
        assert judged["models"].keys() == judged["metrics"].keys() == expected
        assert all(figures == FIGURES for figures in row.metrics.values())
    assert rows["heads"].params == {"groups": "labels", "control": True}
    assert rows["heads"].inputs["model_ids"].keys() == arms
    assert rows["heads"].done["control"]["models"] == [{"id": "mdl_control", "arm": "retrained_control"}]
    assert rows["masked"].params == {"control": True}
    assert events[1].keys() == arms
    assert events[2] == {"stage": "control"}


def test_every_row_of_a_long_history_is_rewritten(database: Database) -> None:
    made = {"models": {"control": "mdl_1"}}
    insert(database, "jobs", *(job(f"job_{number:04}", "masktune", **made) for number in range(1001)))
    network = {"backbone": "small_cnn", "classes": ["a"], "image_size": 28, "artifact": "models/x"}
    insert(database, "jobs", job("job_heads", "retrain_head"))
    insert(
        database,
        "models",
        *({"id": f"mdl_{of}", "job_id": of, "arm": "control"} | network for of in ("job_0000", "job_heads")),
    )
    schema.upgrade(database.engine.url.render_as_string(hide_password=False))
    with database.read() as session:
        listed = jobs.listing(session, before=None, limit=2000)
        arms = {model.job_id: model.arm for model in registry.listing(session, before=None, limit=9)}
    assert sum(row.models == {"masktune_control": "mdl_1"} for row in listed) == 1001
    assert arms == {"job_0000": Arm.MASKTUNE_CONTROL, "job_heads": Arm.RETRAINED_CONTROL}
