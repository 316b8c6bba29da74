"""Data sets, models, aliases and idempotency in SQL, on both engines."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.orm import Session

from core.errors import DatasetInUse, DatasetNotReady, ModelInUse, NotFound
from core.queries import datasets, idempotency, jobs, registry
from core.queries.rows import newest_first
from core.session import Database
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState, JobKind
from tests.integration.core import queue
from tests.integration.core.locks import while_it_waits
from tests.integration.core.plans import copy_row, record_plans
from tests.support.rows import dataset_row, model_row


def _dataset(database: Database, state: DatasetState = DatasetState.READY) -> str:
    with database.begin() as session:
        return datasets.add(session, dataset_row(state=state)).id


def _model(database: Database, **fields: Any) -> str:
    with database.begin() as session:
        return registry.add(session, model_row(**fields)).id


def test_a_data_set_in_use_is_not_deleted(database: Database) -> None:
    dataset_id = _dataset(database)
    job_id = queue.add(database, dataset_id=dataset_id)
    with pytest.raises(DatasetInUse, match=job_id), database.begin() as session:
        datasets.delete(session, dataset_id)
    with database.begin() as session:
        jobs.cancel(session, job_id)
    with database.begin() as session:
        datasets.delete(session, dataset_id)
    with pytest.raises(NotFound), database.read() as session:
        datasets.get(session, dataset_id)


@pytest.mark.parametrize("state", [DatasetState.IMPORTING, DatasetState.INVALID])
def test_only_a_ready_data_set_is_trained_on(database: Database, state: DatasetState) -> None:
    dataset_id = _dataset(database, state)
    with pytest.raises(DatasetNotReady, match=state.value), database.read() as session:
        datasets.get_ready(session, dataset_id)


def test_what_is_pointed_to_stays(database: Database) -> None:
    erm = _model(database)
    tuned = _model(database, arm=Arm.MASKTUNE, erm_id=erm)
    with database.begin() as session:
        registry.move_alias(session, "champion", tuned)
    with pytest.raises(ModelInUse, match="champion"), database.begin() as session:
        registry.delete(session, tuned)
    with pytest.raises(ModelInUse, match=tuned), database.begin() as session:
        registry.delete(session, erm)
    with database.begin() as session:
        registry.remove_alias(session, "champion")
        registry.delete(session, tuned)
        registry.delete(session, erm)
        assert registry.listing(session, before=None, limit=9) == []


@pytest.mark.parametrize("name", ["nobody", "mdl_0"])
def test_an_unknown_model_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(NotFound), database.read() as session:
        registry.get(session, name)


LISTS: dict[str, tuple[Callable[[Database], str], Callable[..., list[Any]]]] = {
    "datasets": (_dataset, partial(newest_first, table=DatasetRow)),
    "models": (_model, registry.listing),
    "jobs": (queue.add, jobs.listing),
}


@pytest.mark.parametrize("table", LISTS)
def test_lists_page_newest_first(database: Database, table: str) -> None:
    make, listing = LISTS[table]
    made = [make(database) for _ in range(5)]
    with database.read() as session:
        first = listing(session, before=None, limit=2)
        rest = listing(session, before=(first[-1].created_at, first[-1].id), limit=9)
        assert [row.id for row in (*first, *rest)] == made[::-1]


@pytest.mark.parametrize("table", ["datasets", "models"])
def test_a_page_reads_what_it_shows_and_not_the_table(database: Database, table: str) -> None:
    """Of 20,000 models a first page cost 40 ms."""
    make, listing = LISTS[table]
    make(database)
    copy_row(database, table)
    plans = record_plans(database)
    with database.read() as session:
        assert len(listing(session, before=None, limit=20)) == 20
    assert len(plans) == 1
    assert f"{table}_newest" in plans[0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_key_that_another_request_takes_and_frees_in_the_same_moment_is_reserved(
    database: Database,
) -> None:
    """The other was first, and failed before it could be asked what it answered. Only PostgreSQL lets both
    write at a time."""

    def take(*_: object) -> None:
        with database.begin() as session:
            idempotency.begin(session, "k", "theirs", stale_after=60)

    def free(*_: object) -> None:
        with database.begin() as session:
            session.execute(text("DELETE FROM idempotency"))

    with database.begin() as mine:
        event.listen(mine, "before_flush", take, once=True)
        event.listen(mine, "after_soft_rollback", free, once=True)
        assert idempotency.begin(mine, "k", "mine", stale_after=60) is None
    with database.read() as session:
        assert session.execute(text("SELECT fingerprint FROM idempotency")).scalar_one() == "mine"


def test_which_models_are_missing(database: Database) -> None:
    there, gone = _model(database), new_id("mdl")
    with database.read() as session:
        assert registry.missing(session, [there, gone]) == {gone}
        assert registry.missing(session, [there]) == set()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_old_answers_are_found_by_their_index(database: Database) -> None:
    rows = "repeat(md5(n::text), 2), '', '{}', extract(epoch from now()) - n FROM generate_series(1, 20000) n"
    with database.begin() as session:
        session.execute(text(f"INSERT INTO idempotency (key, fingerprint, headers, at) SELECT {rows}"))
        session.execute(text("ANALYZE idempotency"))
    plans: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def explain(connection: Connection, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("DELETE"):
            cursor.execute(f"EXPLAIN {statement}", parameters)
            plans.extend(line for (line,) in cursor.fetchall())

    with database.begin() as session:
        assert idempotency.purge(session, older_than=19_000, span=math.inf) > 900
        assert session.scalar(text("SELECT count(*) FROM idempotency")) < 19_100
    assert "Index Scan using ix_idempotency_at" in "\n".join(plans)


def test_the_jobs_that_read_or_make_a_model_are_known(database: Database) -> None:
    inputs = ({"model": "mdl_1"}, {"model_ids": {"erm": "mdl_1"}}, {"model": "mdl_2"}, {"model": "mdl_11"})
    made = [queue.add(database, inputs=of_job) for of_job in inputs]
    with database.begin() as session:
        assert sorted(jobs.using_model(session, "mdl_1")) == sorted(made[:2])
        jobs.cancel(session, made[0])
        assert jobs.using_model(session, "mdl_1") == [made[1]]


def _use(session: Session, model_id: str) -> None:
    registry.keep(session, {model_id})
    jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.MASK, params={}, inputs={"model": model_id}))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_model_is_deleted_or_used_and_never_both(database: Database) -> None:
    used, deleted = _model(database), _model(database)
    with pytest.raises(ModelInUse):
        while_it_waits(database, lambda s: _use(s, used), lambda s: registry.delete(s, used)).result()
    with pytest.raises(NotFound):
        while_it_waits(database, lambda s: registry.delete(s, deleted), lambda s: _use(s, deleted)).result()


def test_a_backbone_is_stored_until_its_last_model_goes(database: Database) -> None:
    with database.begin() as session:
        keys = [registry.share_backbone(session, "digest", f"backbones/{name}") for name in "ab"]
    assert keys == ["backbones/a"] * 2
    first, last = (_model(database, backbone_artifact=key) for key in keys)
    for model, released in ((first, False), (last, True)):
        with database.begin() as session:
            registry.delete(session, model)
            assert registry.release_backbone(session, "backbones/a") is released
    with database.begin() as session:  # under another key than the one that is being deleted
        assert registry.share_backbone(session, "digest", "backbones/c") == "backbones/c"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_models_with_one_backbone_come_and_go_at_once(database: Database) -> None:
    """The second deletion sees that the first model is gone; a model that comes too late has its own copy."""

    def delete(session: Session, model: str) -> bool:
        registry.delete(session, model)
        return registry.release_backbone(session, "backbones/a")

    def add(session: Session, artifact: str) -> str:
        key = registry.share_backbone(session, "digest", artifact)
        registry.add(session, model_row(backbone_artifact=key))
        return key

    with database.begin() as session:
        registry.share_backbone(session, "digest", "backbones/a")
    one, two, three = (_model(database, backbone_artifact="backbones/a") for _ in range(3))
    assert not while_it_waits(database, lambda s: delete(s, one), lambda s: delete(s, two)).result()
    released = while_it_waits(database, lambda s: add(s, "backbones/b"), lambda s: delete(s, three))
    assert not released.result(), "the model that was added names it"
    with database.begin() as session:
        (last,) = session.scalars(select(ModelRow.id))
    added = while_it_waits(database, lambda s: delete(s, last), lambda s: add(s, "backbones/c"))
    assert added.result() == "backbones/c"


def test_what_has_no_model_in_it_is_not_read_for_the_jobs_that_use_one(database: Database) -> None:
    """A long job's stages, figures and error are most of its row, and SQLite's one writer would read them."""
    said: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def keep(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    made = queue.add(database, params={"pretrained": "mdl_1"})
    with database.read() as session:
        said.clear()
        assert jobs.using_model(session, "mdl_1") == [made]
    columns = said[0].partition("FROM")[0]
    assert not [name for name in ("done", "progress", "metrics", "error") if f"jobs.{name}" in columns]
