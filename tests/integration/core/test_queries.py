"""Data sets, models, aliases and idempotency in SQL, on both engines."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from core import schema
from core.errors import DatasetInUse, DatasetNotReady, ModelInUse, NotFound
from core.queries import datasets, idempotency, jobs, registry
from core.queries.rows import newest_first
from core.session import Database
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState, JobKind
from tests.conftest import postgres_database
from tests.integration.core.locks import while_it_waits
from tests.integration.core.plans import copy_row, record_plans
from tests.support.rows import dataset_row


def _dataset(database: Database, state: DatasetState = DatasetState.READY) -> str:
    dataset_id = new_id("ds")
    with database.begin() as session:
        row = dataset_row(id=dataset_id, state=state)
        row.artifact = f"datasets/{dataset_id}"
        datasets.add(session, row)
    return dataset_id


def _model(database: Database, **fields: Any) -> str:
    model_id = new_id("mdl")
    values = {"arm": Arm.ERM, "backbone": "small_cnn", "classes": ["a", "b"], "image_size": 28} | fields
    with database.begin() as session:
        registry.add(session, ModelRow(id=model_id, artifact=f"models/{model_id}", **values))
    return model_id


def test_a_data_set_in_use_is_not_deleted(database: Database) -> None:
    dataset_id = _dataset(database)
    with database.begin() as session:
        job = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={}, dataset_id=dataset_id))
    with pytest.raises(DatasetInUse, match=job.id), database.begin() as session:
        datasets.delete(session, dataset_id)
    with database.begin() as session:
        jobs.cancel(session, job.id)
    with database.begin() as session:
        datasets.delete(session, dataset_id)
    with pytest.raises(NotFound), database.read() as session:
        datasets.get(session, dataset_id)


@pytest.mark.parametrize("state", [DatasetState.IMPORTING, DatasetState.INVALID])
def test_only_a_ready_data_set_is_trained_on(database: Database, state: DatasetState) -> None:
    dataset_id = _dataset(database, state)
    with pytest.raises(DatasetNotReady, match=state.value), database.read() as session:
        datasets.get_ready(session, dataset_id)


def test_the_import_writes_what_it_found(database: Database) -> None:
    dataset_id = _dataset(database, DatasetState.IMPORTING)
    with database.begin() as session:
        datasets.finish(
            session, dataset_id, artifact="datasets/x", classes=["a"], summary={"n": 3}, ready=True
        )
    with database.read() as session:
        row = datasets.get_ready(session, dataset_id)
    assert (row.artifact, row.classes, row.summary) == ("datasets/x", ["a"], {"n": 3})
    assert row.ended_at is not None


def test_an_alias_stands_where_an_id_may_and_remembers_its_moves(database: Database) -> None:
    first, second = _model(database), _model(database)
    for model_id in (first, second, first):
        with database.begin() as session:
            registry.move_alias(session, "champion", model_id)
    with database.begin() as session:
        assert registry.get(session, "champion").id == first
        assert [m.model_id for m in registry.alias_moves(session, "champion", limit=9)] == [
            first,
            second,
            first,
        ]
        registry.remove_alias(session, "champion")
        assert registry.move_alias(session, "champion", second).version == 5


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


@pytest.mark.parametrize("name", ["nobody", "mdl_0", "../x", ""])
def test_an_unknown_model_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(NotFound), database.read() as session:
        registry.get(session, name)


def _list_datasets(database: Database) -> list[str]:
    with database.read() as session:
        first = newest_first(session, DatasetRow, before=None, limit=2)
        rest = newest_first(session, DatasetRow, before=(first[-1].created_at, first[-1].id), limit=9)
        return [r.id for r in (*first, *rest)]


def _list_models(database: Database) -> list[str]:
    with database.read() as session:
        first = registry.listing(session, before=None, limit=2)
        rest = registry.listing(session, before=(first[-1].created_at, first[-1].id), limit=9)
        return [r.id for r in (*first, *rest)]


@pytest.mark.parametrize(("make", "listing"), [(_dataset, _list_datasets), (_model, _list_models)])
def test_lists_page_newest_first(
    database: Database, make: Callable[[Database], str], listing: Callable[[Database], list[str]]
) -> None:
    made = [make(database) for _ in range(5)]
    assert listing(database) == made[::-1]


@pytest.mark.parametrize(
    ("table", "make", "query"),
    [("datasets", _dataset, partial(newest_first, table=DatasetRow)), ("models", _model, registry.listing)],
)
def test_a_page_reads_what_it_shows_and_not_the_table(
    database: Database, table: str, make: Callable[[Database], str], query: Callable[..., list[object]]
) -> None:
    """Of 20,000 models a first page cost 40 ms."""
    make(database)
    copy_row(database, table)
    plans = record_plans(database)
    with database.read() as session:
        assert len(query(session, before=None, limit=20)) == 20
    assert len(plans) == 1
    assert f"{table}_newest" in plans[0]


def test_a_key_that_another_request_takes_and_frees_in_the_same_moment_is_reserved() -> None:
    """The other was first, and failed before it could be asked what it answered. Only PostgreSQL lets both
    write at a time."""
    with postgres_database() as url:
        schema.upgrade(url)
        database, other = Database(url), Database(url)

        def take(*_: object) -> None:
            with other.begin() as session:
                idempotency.begin(session, "k", "theirs", stale_after=60)

        def free(*_: object) -> None:
            with other.begin() as session:
                session.execute(text("DELETE FROM idempotency"))

        with database.begin() as mine:
            event.listen(mine, "before_flush", take, once=True)
            event.listen(mine, "after_soft_rollback", free, once=True)
            assert idempotency.begin(mine, "k", "mine", stale_after=60) is None
        with database.read() as session:
            assert session.execute(text("SELECT fingerprint FROM idempotency")).scalar_one() == "mine"
        database.close()
        other.close()


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
    with database.begin() as session:
        made = [
            jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={}, inputs=i)).id
            for i in inputs
        ]
        assert sorted(jobs.using_model(session, "mdl_1")) == sorted(made[:2])
        jobs.cancel(session, made[0])
        assert jobs.using_model(session, "mdl_1") == [made[1]]


def test_models_that_are_kept_exist(database: Database) -> None:
    model_id = _model(database)
    with database.begin() as session:
        registry.keep(session, {model_id})
        with pytest.raises(NotFound, match="mdl_0"):
            registry.keep(session, {model_id, "mdl_0"})


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


def test_what_has_no_model_in_it_is_not_read_for_the_jobs_that_use_one(database: Database) -> None:
    """A long job's stages, figures and error are most of its row, and SQLite's one writer would read them."""
    said: list[str] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def keep(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    with database.begin() as session:
        made = jobs.add(
            session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={"pretrained": "mdl_1"})
        ).id
        said.clear()
        assert jobs.using_model(session, "mdl_1") == [made]
    columns = said[0].partition("FROM")[0]
    assert not [name for name in ("done", "progress", "metrics", "error") if f"jobs.{name}" in columns]
