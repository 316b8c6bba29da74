"""Other workers check images of an import from an object store: whatever becomes of them or of the import, a
store is that of one worker alone, and a deleted one leaves nothing."""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from core.queries import datasets, jobs
from core.storage.trash import discard
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobState
from models.data.importing.parts import LISTS_FILE
from tests.integration.worker.many_files import make_files
from tests.integration.worker.service import Service, kill, open_service
from tests.support.databases import postgres_database
from tests.support.jobs.real_jobs import add_import
from tests.support.machine import needs
from tests.support.object_store import ObjectStore
from tests.support.servers import Redis
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SHARDS = 5
BROKEN = 5


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packed store of many files, beside an archive of them."""
    store = make_files(tmp_path_factory.mktemp("many"), 512 * SHARDS, broken=BROKEN)
    shutil.make_archive(str(store.with_name("images")), "zip", store.with_name("images"))
    return store


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty bucket; the usual variables of AWS lead to it."""
    server = ObjectStore()
    for variable, text in server.environment.items():
        monkeypatch.setenv(variable, text)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    name = f"many-{uuid.uuid4().hex[:8]}"  # the server's memory is the process's
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture
def service(tmp_path: Path, images: Path, bucket: str) -> Iterator[Service]:
    needs("redis-server")
    redis = Redis(tmp_path, os.environ, persistent=False)
    redis.start()
    places = {"storage_url": f"{bucket}/artifacts", "allowed_sources": f"{bucket}/sources"}
    with postgres_database() as database:
        opened = open_service(
            tmp_path / "service",
            images,
            database_url=database,
            broker_url=redis.url,
            lease_seconds=60.0,  # the child of a stopped worker must outlast what a test does
            **places,
        )
        yield opened
        opened.close()
    redis.kill()


def _source(service: Service, images: Path, kind: str) -> dict[str, str]:
    archive = images.with_name("images.zip")
    if kind == "address":
        address = f"{service.settings.allowed_sources}/images.zip"
        service.artifacts.fs.put_file(str(archive), address)
        return {"address": address}
    key = f"uploads/{new_id('ds')}"
    with service.artifacts.writing(key) as folder:
        shutil.copy(archive, folder / "archive")
    return {"upload": key}


def _shards(service: Service, job_id: str) -> set[str]:
    """The numbers of those that are whole."""
    folders = f"{service.artifacts.root}/jobs/{job_id}/work/shards-*"
    return {Path(path).parent.name for path in service.artifacts.fs.glob(f"{folders}/*/.complete")}


def _await_shards(service: Service, job_id: str, count: int) -> None:
    wait_until(
        lambda: len(_shards(service, job_id)) >= count,
        lambda: f"{count} shards, there are {_shards(service, job_id)}: {service.log()}",
    )


def _groups(service: Service) -> list[int]:
    """The process groups of jobs and of helpers, each with the processes that it forks to check images."""
    return sorted({pid for pid in service.children() if os.getsid(pid) == pid})


def _held_after_its_first_shard(service: Service, source: dict[str, str]) -> tuple[str, str, int]:
    """A data set and its import, whose processes are stopped after a shard or two; and their group."""
    service.start_worker()
    dataset_id, job_id = add_import(service.database, source)
    service.notifier.notify(job_id)
    _await_shards(service, job_id, 1)
    (group,) = _groups(service)
    os.killpg(group, signal.SIGSTOP)
    return dataset_id, job_id, group


def _helper_beside(service: Service, group: int) -> int:
    wait_until(lambda: len(_groups(service)) == 2, service.log)
    (helper,) = set(_groups(service)) - {group}
    return helper


def _check_equal(service: Service, job_id: str, one_process: Path) -> None:
    """The store of the import is the one that a process alone makes of the images, but for its name."""
    ours = service.artifacts.folder(service.job(job_id).done["import"]["artifact"])
    names = {path.name for path in ours.iterdir()} - {"report.json", "dataset.json"}
    assert {"samples.arrow", "pixels.npy"} <= names
    assert filecmp.cmpfiles(ours, one_process, sorted(names), shallow=False) == (sorted(names), [], [])


def _check_nothing_is_left(service: Service) -> None:
    """In the store of the import's work, and on this host of a helper's."""
    scratch, fs = service.settings.scratch / "work", service.artifacts.fs
    wait_until(
        lambda: not [*fs.find(f"{service.artifacts.root}/jobs"), *scratch.glob("[!j]*")],  # not those of jobs
        lambda: f"{fs.find(service.artifacts.root)} {list(scratch.glob('*'))} {service.log()}",
    )


@pytest.mark.parametrize("kind", ["address", "upload"])
def test_an_idle_worker_checks_images_of_an_import(service: Service, images: Path, kind: str) -> None:
    source = _source(service, images, kind)
    _, job_id, group = _held_after_its_first_shard(service, source)
    helper = service.start_worker()
    service.await_taken(job_id)
    os.killpg(group, signal.SIGCONT)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1
    helped, ended = service.log_lines(job_id)
    assert f":{helper.pid} helps with the check of images" in helped
    assert "by other workers" in ended
    _check_equal(service, job_id, images)
    _check_nothing_is_left(service)


@pytest.mark.parametrize("killed", ["child", "worker"])
def test_a_killed_helper_costs_the_import_nothing(service: Service, images: Path, killed: str) -> None:
    source = _source(service, images, "address")
    _, job_id, group = _held_after_its_first_shard(service, source)
    there = len(_shards(service, job_id))
    worker = service.start_worker()
    helper = _helper_beside(service, group)
    _await_shards(service, job_id, there + 1)
    kill(worker.pid if killed == "worker" else helper)
    wait_until(lambda: _groups(service) == [group], service.log)
    os.killpg(group, signal.SIGCONT)
    assert service.await_state(job_id, JobState.SUCCEEDED).attempt == 1
    _check_equal(service, job_id, images)


def _delete(service: Service, dataset_id: str, job_id: str) -> None:
    """Cancel the import, and remove its data set, as the API does."""
    with service.database.begin() as session:
        jobs.cancel(session, job_id)
    service.await_state(job_id, JobState.CANCELLED)
    with service.database.begin() as session:
        keys = datasets.delete(session, dataset_id)
        discard(session, service.database, service.artifacts, keys)


def test_a_shard_that_ends_after_its_data_set_was_deleted_is_removed(service: Service, images: Path) -> None:
    source = _source(service, images, "address")
    dataset_id, job_id, group = _held_after_its_first_shard(service, source)
    service.hold_opening(LISTS_FILE)  # in the middle of writing a shard
    worker = service.start_worker()
    assert service.await_opening(LISTS_FILE) != group
    service.stop(worker, job_id)
    _delete(service, dataset_id, job_id)
    assert _shards(service, job_id) == set()
    service.open_gates()
    _await_shards(service, job_id, 1)
    worker.send_signal(signal.SIGCONT)
    service.await_no_child()
    _check_nothing_is_left(service)
