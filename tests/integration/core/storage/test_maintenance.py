"""What the sweep tidies on the disk of a host, and how often."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from core.queries import datasets, jobs
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.maintenance import STAMP, Maintenance, run_maintenance
from core.tables import JobRow
from masktune.contract.vocabulary import DatasetState, JobKind
from tests.support.rows import dataset_row
from tests.support.waits import wait_until


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Of a service whose store is remote, and whose copies have no space."""
    address = f"memory://{uuid.uuid4().hex}"
    return Settings(data_dir=tmp_path / "var", database_url=database_url, storage_url=address, cache_bytes=0)


def old(path: Path, *, hours: float = 48) -> Path:
    """A folder with a file, in which nothing has changed for so long."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").touch()
    then = time.time() - hours * 3600
    for each in (*path.iterdir(), path):
        os.utime(each, (then, then))
    return path


def test_scratch_space_of_ended_jobs_and_killed_processes_goes(
    settings: Settings, database: Database
) -> None:
    scratch = settings.scratch
    with database.begin() as session:
        for name in ("job_active", "job_ended"):
            jobs.add(session, JobRow(id=name, kind=JobKind.ERM, params={}))
        jobs.cancel(session, "job_ended")
    stays = [old(scratch / "work/job_active"), old(scratch / "uploads/new", hours=2)]
    goes = [old(scratch / name) for name in ("work/job_ended", "work/job_gone", "uploads/x")]
    run_maintenance(database, settings)
    assert [folder.exists() for folder in (*stays, *goes)] == [True] * 2 + [False] * 3


def test_copies_of_the_front_and_of_the_worker_go_but_what_active_jobs_read(
    settings: Settings, database: Database
) -> None:
    store = Artifacts(settings.storage, cache=settings.scratch)
    for key in ("datasets/read", "datasets/unread", "uploads/read"):
        with store.writing(key) as folder:
            (folder / "samples").write_bytes(b"s")
    with database.begin() as session:
        for name in ("read", "unread"):
            row = dataset_row(id=name, state=DatasetState.IMPORTING, source={"upload": f"uploads/{name}"})
            datasets.add(session, row)
            datasets.finish(session, name, artifact=f"datasets/{name}", classes=[], summary={}, ready=True)
        jobs.add(session, JobRow(id="job_1", kind=JobKind.ERM, params={}, dataset_id="read"))
    caches = (settings.data_dir / "cache", settings.scratch / "cache")
    copies = {
        name: [old(Artifacts(settings.storage, cache=cache).folder(f"datasets/{name}")) for cache in caches]
        for name in ("read", "unread")
    }
    copies["read"].append(old(Artifacts(settings.storage, cache=caches[1]).folder("uploads/read")))
    run_maintenance(database, settings)
    assert [copy.exists() for copy in copies["read"]] == [True, True, True]
    assert [copy.exists() for copy in copies["unread"]] == [False, False]


def test_a_store_in_a_folder_is_tidied(tmp_path: Path, database: Database) -> None:
    settings = Settings(data_dir=tmp_path / "var")
    partial = old(tmp_path / "var/artifacts/models/.mdl_1.a1b2c3d4")
    run_maintenance(database, settings)
    assert not partial.exists()


def test_it_is_done_once_an_hour(settings: Settings, database: Database) -> None:
    run_maintenance(database, settings)
    left = old(settings.scratch / "uploads/x")
    run_maintenance(database, settings)
    assert left.exists()
    os.utime(settings.scratch / STAMP, (time.time() - 3601,) * 2)
    run_maintenance(database, settings)
    assert not left.exists()


def test_maintenance_runs_beside_others_and_once_at_a_time(settings: Settings, database: Database) -> None:
    maintenance, left = Maintenance(database, settings), old(settings.scratch / "uploads/x")
    maintenance.start()
    wait_until(lambda: not left.exists())
    maintenance.close(timeout=10)
    os.utime(settings.scratch / STAMP, (time.time() - 3601,) * 2)
    old(left)
    maintenance.start()
    assert left.exists(), "it was closed"


def test_a_database_that_is_away_is_told_and_does_not_end_maintenance(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path / "var")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trash RENAME TO gone")
    maintenance, left = Maintenance(database, settings), old(settings.scratch / "uploads/x")
    maintenance.start()
    wait_until(lambda: "maintenance failed" in caplog.text)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO trash")

    def kept() -> bool:
        maintenance.start()
        return not left.exists()

    wait_until(kept)
    maintenance.close(timeout=10)


def test_a_store_that_does_not_answer_is_told_and_stops_nothing(
    tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    # Settings would refuse it, and a test must not wait for a store that is away.
    settings = Settings(data_dir=tmp_path / "var").model_copy(update={"storage_url": "nonsense://x"})
    left = old(settings.scratch / "uploads/x")
    run_maintenance(database, settings)
    assert not left.exists()
    assert "could not be tidied" in caplog.text
