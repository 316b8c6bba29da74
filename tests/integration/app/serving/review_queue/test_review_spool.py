"""The way of drawn images into review queues: what an answer does not wait for, and what a kill leaves."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from app.inference import Upload
from app.review_queue import queueing
from app.review_queue.queueing import QueuedImage
from app.review_queue.spool import Spool
from core.tables import ModelRow
from masktune.contract.vocabulary import Arm
from tests.integration.app.serving.conftest import PNG, World, picture
from tests.integration.app.serving.review_queue.reviews import PROMISE, listed, promise, send, switch_on


def _images(world: World, *numbers: int) -> list[QueuedImage]:
    """Abstained ones."""
    drawn = [
        queueing.DrawnImage(n, None, {"decision": "abstain", "label": None}) for n in range(len(numbers))
    ]
    received = queueing.ReceivedImages([Upload(picture(number)) for number in numbers], "anna")
    return queueing.queued(world.model, drawn, received)


def _spool(world: World, folder: Path, most_bytes: int = 2**20) -> Spool:
    lost = Counter("lost", "Lost.", registry=CollectorRegistry())
    return Spool(folder, world.services.database, lost, most_bytes)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sqlite"))


@contextmanager
def _locked(world: World) -> Iterator[None]:
    """Nobody else can write to the database."""
    path = world.services.database.engine.url.database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_an_answer_waits_for_no_locked_database(fresh_world: World) -> None:
    world = fresh_world
    switch_on(world)
    with _locked(world):
        query = {"model": world.model, "min_score": "1"}
        answer = world.client.post("/predict", params=query, content=picture(0), headers=PNG)
        assert answer.status_code == 200
        (file,) = _files(world.services.settings.data_dir / "spool")
        assert file.stat().st_mode & 0o777 == 0o600
    world.services.predictions.spool.fill()
    assert [one["kind"] for one in listed(world)] == ["abstained"]


def test_what_a_killed_process_left_is_stored_by_the_next(fresh_world: World, tmp_path: Path) -> None:
    world, folder = fresh_world, tmp_path / "spool"
    switch_on(world)
    killed = _spool(world, folder)
    killed.append(_images(world, 0, 1, 2))
    _spool(world, folder).fill()  # while that process runs, its file is its own
    assert listed(world) == []
    killed.close()
    following = _spool(world, folder)
    following.fill()
    assert [one["subject"] for one in listed(world)] == ["anna"] * 3
    following.close()


def test_an_image_is_stored_once(fresh_world: World) -> None:
    """A process that is killed after it has stored images, and before it has removed its file."""
    world = fresh_world
    switch_on(world)
    send(world, *range(8), **PROMISE)
    images, stored = _images(world, 20), listed(world)
    for _ in range(2):
        queueing.store(world.services.database, world.model, images)
    assert len(listed(world)) == len(stored) + 1
    assert promise(world)["left_out"] == 0


def test_what_finds_no_room_is_lost_and_counted(fresh_world: World, tmp_path: Path) -> None:
    world = fresh_world
    switch_on(world)
    spool = _spool(world, tmp_path / "spool", most_bytes=2**16)
    spool.append(_images(world, *range(100)))
    spool.fill()
    stored = len(listed(world))
    assert 0 < stored < 100
    assert promise(world)["lost"] == 100 - stored
    spool.append(_images(world, 100))  # there is room again
    spool.fill()
    assert len(listed(world)) == stored + 1


def test_a_full_disk_takes_whole_images_alone(fresh_world: World, tmp_path: Path) -> None:
    world, limits = fresh_world, resource.getrlimit(resource.RLIMIT_FSIZE)
    switch_on(world)
    spool = _spool(world, tmp_path / "spool")
    spool.append(_images(world, 0))
    file = tmp_path / "spool" / next((tmp_path / "spool").glob("*-wal"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 100, limits[1]))
    try:
        spool.append(_images(world, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    spool.append(_images(world, 2))
    spool.fill()
    assert len(listed(world)) == 2
    assert promise(world)["lost"] == 1


def test_an_emptied_queue_stays_empty(fresh_world: World, tmp_path: Path) -> None:
    world = fresh_world
    switch_on(world)
    spool = _spool(world, tmp_path / "spool")
    spool.append(_images(world, 0))
    assert world.client.delete(f"/models/{world.model}/reviews").status_code == 204
    switch_on(world)
    spool.fill()
    assert listed(world) == []
    spool.append(_images(world, 0))
    spool.fill()
    assert len(listed(world)) == 1


def test_a_model_that_is_gone_holds_nobody_up(fresh_world: World, tmp_path: Path) -> None:
    world = fresh_world
    switch_on(world)
    spool = _spool(world, tmp_path / "spool")
    gone = [image._replace(model_id="mdl_gone") for image in _images(world, 0)]
    spool.append([*gone, *_images(world, 1)])
    spool.fill()
    assert len(listed(world)) == 1


def test_a_model_whose_row_nobody_can_read_holds_nobody_up(fresh_world: World, tmp_path: Path) -> None:
    world = fresh_world
    switch_on(world)
    spool = _spool(world, tmp_path / "spool")
    with world.services.database.begin() as session:
        fields = {"backbone": "x", "classes": ["a"], "image_size": 28, "artifact": "models/0"}
        policy = {"enabled": True, "keep_bytes": "x"}
        session.add(ModelRow(id="mdl_0", arm=Arm.ERM, review_policy=policy, **fields))
    spool.append([*(image._replace(model_id="mdl_0") for image in _images(world, 0)), *_images(world, 1)])
    spool.fill()
    assert len(listed(world)) == 1
