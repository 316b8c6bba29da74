"""Review queues with PostgreSQL and S3: a flood of images, and locks that others hold."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import Connection, create_engine, select, text

from core.tables.base import Table
from tests.integration.app.serving.conftest import PNG, World, furnished, picture
from tests.integration.app.serving.review_queue.reviews import listed, switch_on
from tests.support.databases import empty_database
from tests.support.object_store import ObjectStore
from tests.support.waits import PATIENCE, wait_until

KEEP_BYTES = 2**20
FLOOD = 40
"""Images of a fifth of a mebibyte each: several times what is kept."""

WAITING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of an empty bucket; the usual variables of AWS lead to it."""
    s3 = fsspec.get_filesystem_class("s3")
    server = ObjectStore()
    with pytest.MonkeyPatch.context() as patch:
        for variable, setting in server.environment.items():
            patch.setenv(variable, setting)
        s3.clear_instance_cache()  # of tests without credentials
        name = f"masktune-{uuid.uuid4().hex[:8]}"
        s3().mkdir(name)
        yield f"s3://{name}"
        s3.clear_instance_cache()
    server.stop()


@pytest.fixture
def shared_world(bucket: str, tmp_path: Path) -> Iterator[World]:
    """A front whose database and store are not on its host."""
    with empty_database("postgresql", tmp_path) as url:
        places = {"database_url": url, "storage_url": f"{bucket}/artifacts"}
        with furnished(tmp_path, **places) as world:
            _copy_rows(f"sqlite:///{tmp_path}/masktune.db", url)
            for folder in (tmp_path / "artifacts").glob("*/*"):
                with world.services.artifacts.writing(f"{folder.parent.name}/{folder.name}") as stored:
                    shutil.copytree(folder, stored, dirs_exist_ok=True)
            yield world


def _copy_rows(source: str, target: str) -> None:
    with _session(source) as rows, _session(target) as connection:
        for table in Table.metadata.sorted_tables:
            if some := [dict(row) for row in rows.execute(select(table)).mappings()]:
                connection.execute(table.insert(), some)
        connection.commit()


@contextmanager
def _session(url: str) -> Iterator[Connection]:
    """One of another program; what it has locked is free at the end."""
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _url(world: World) -> str:
    return world.services.settings.database_url


def _size_on_disk(world: World) -> int:
    """Of the stored images, after what PostgreSQL does by itself once a minute."""
    engine = create_engine(_url(world), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("VACUUM review_items, review_images"))
        size: int = connection.execute(text("SELECT pg_total_relation_size('review_images')")).scalar_one()
    engine.dispose()
    return size


def test_a_flood_takes_no_more_than_the_policy_allows(shared_world: World, bucket: str) -> None:
    world = shared_world
    switch_on(world, keep_bytes=KEEP_BYTES)
    store = fsspec.filesystem("s3", use_listings_cache=False)
    before, sizes = store.find(bucket), []
    for first in range(0, 3 * FLOOD, FLOOD):
        for start in range(first, first + FLOOD, 8):
            files = [
                ("file", (f"{n}.png", picture(n, side=260), "image/png")) for n in range(start, start + 8)
            ]
            query = {"model": world.model, "min_score": "1"}
            assert world.client.post("/predict", params=query, files=files).status_code == 200
            world.services.predictions.spool.fill()
            stored = [one["bytes"] for one in listed(world) if one["bytes"]]
            assert 0.5 * KEEP_BYTES < sum(stored) <= 1.1 * KEEP_BYTES
        sizes.append(_size_on_disk(world))
    assert sizes[-1] <= 1.5 * sizes[0]  # the space of deleted images is used again
    assert before
    assert store.find(bucket) == before


@pytest.mark.parametrize(
    "lock",
    [
        "LOCK TABLE review_items, review_images IN ACCESS EXCLUSIVE MODE",
        "SELECT id FROM models FOR UPDATE",
    ],
)
def test_answers_wait_for_no_lock_of_others(shared_world: World, lock: str) -> None:
    world = shared_world
    switch_on(world)

    def predict(number: int) -> int:
        model = (world.model, world.control)[number % 2]  # with and without a queue
        query = {"model": model, "min_score": "1"}
        return world.client.post("/predict", params=query, content=picture(number), headers=PNG).status_code

    with ThreadPoolExecutor(12) as clients, _session(_url(world)) as watcher:
        with _session(_url(world)) as other:
            other.execute(text(lock))
            assert list(clients.map(predict, range(24), timeout=PATIENCE)) == [200] * 24
            stored = clients.submit(world.services.predictions.spool.fill)
            wait_until(lambda: watcher.execute(WAITING).scalar_one() > 0)
            assert list(clients.map(predict, range(24, 48), timeout=PATIENCE)) == [200] * 24
            assert not stored.done()
        stored.result(PATIENCE)
    world.services.predictions.spool.fill()
    assert len(listed(world)) == 24
