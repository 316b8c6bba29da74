"""Backup and restore of rows and files, from either kind of database to either, with running writers."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest
import sqlalchemy as sa
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner, Result

from core import schema
from core.queries import leases
from core.session import Database
from core.storage.artifacts import Artifacts
from core.storage.backup import restore, save
from core.storage.backup_files import NotRestorable
from masktune.cli.main import app
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind
from tests.integration.core.backups import MakeDatabase, furnish, rows
from tests.integration.core.databases import database_without_tables
from tests.stored.migration import FIRST, FOLDER
from tests.support.machine import needs


def nulls(url: str) -> int:
    """Jobs whose error is SQL's NULL, which is what the queries compare with."""
    with closing(Database(url)) as database, database.engine.connect() as connection:
        found: int = connection.execute(sa.text("SELECT count(*) FROM jobs WHERE error IS NULL")).scalar_one()
        return found


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_what_is_restored_is_what_was_saved_and_its_job_can_be_claimed(
    source: str,
    target: str,
    make_database: MakeDatabase,
    artifacts: Artifacts,
    other_artifacts: Artifacts,
    tmp_path: Path,
) -> None:
    first, second = make_database(source), make_database(target)
    job = furnish(first, artifacts)
    saved = save(first, artifacts, tmp_path / "backup")
    assert restore(tmp_path / "backup", second, other_artifacts) == saved
    assert rows(second) == rows(first)
    assert nulls(second) == nulls(first) == 1
    assert (saved.files, saved.bytes) == (3, 1003)
    weights = other_artifacts.folder("models/mdl_1") / "deep" / "weights"
    assert weights.read_bytes() == bytes(1000)
    with closing(Database(second)) as database, database.begin() as session:
        row = leases.claim(session, worker="w", lease_seconds=60)
        assert row is not None
        assert (row.id, row.params) == (job, {"×": [1.5, None]})


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_of_the_first_release_is_restored(
    target: str, make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    shutil.unpack_archive(FOLDER / "0.1.0.tar.xz", tmp_path / "stored", filter="data")
    first, second = f"sqlite:///{tmp_path}/stored/data/masktune.db", make_database(target)
    before = rows(first)
    assert save(first, None, tmp_path / "backup", review_images=True).revision == FIRST
    restore(tmp_path / "backup", second, artifacts)
    with closing(Database(second)) as database:
        assert schema.is_current(database)
    after = rows(second)
    assert before["review_items"]
    assert [job["params"].pop("gpus") for job in before["jobs"] if job["kind"] is JobKind.MITIGATE] == [1]
    assert before.pop("alembic_version") != after.pop("alembic_version")
    assert [model.pop("evaluations") for model in after["models"]] == [{} for _ in before["models"]]
    assert after.pop("passes") == []
    assert after == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_is_one_moment_of_a_service_that_goes_on(
    kind: str, make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    """Every event's number must be that of its job, which is written in the same transaction."""
    url = make_database(kind)
    job, done = furnish(url, artifacts), threading.Event()
    with closing(Database(url)) as database:
        with database.begin() as session:
            row = leases.claim(session, worker="w", lease_seconds=600)
            assert row is not None
            lease = leases.Lease(job, row.token)

        def write() -> None:
            while not done.is_set():
                with database.begin() as session:
                    leases.log(session, lease, "on it")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(2):
                save(url, None, tmp_path / f"backup-{number}")
        finally:
            done.set()
            writer.join()
    for number in range(2):
        copy = make_database("sqlite")
        restore(tmp_path / f"backup-{number}", copy, artifacts)
        found = rows(copy)
        assert len(found["events"]) == found["jobs"][0]["event_seq"] > 1


@pytest.mark.parametrize("local", [True, False])
def test_what_was_saved_exists_in_an_object_store(
    local: bool, make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    """Without a marker nothing exists there, and files of a folder have none."""
    first, second = (Artifacts(f"memory://{new_id('ds')}", cache=tmp_path / new_id("ds")) for _ in range(2))
    url, store = make_database("sqlite"), artifacts if local else first
    furnish(url, store)
    save(url, store, tmp_path / "backup")
    restore(tmp_path / "backup", make_database("sqlite"), second)
    assert second.exists("models/mdl_1")
    assert (second.folder("models/mdl_1") / "deep" / "weights").read_bytes() == bytes(1000)
    assert second.folder("jobs/job_1/erm").is_dir()


class BusyStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store in which something happens whenever a file named `epoch` has been copied."""

    protocol = "busy"
    happens: Callable[[], None] = staticmethod(lambda: None)

    def get_file(self, rpath: str, lpath: str, **more: Any) -> None:
        super().get_file(rpath, lpath, **more)
        if rpath.endswith("work/0/epoch"):
            BusyStore.happens()


@pytest.mark.parametrize(("times", "target"), [(1, "memory"), (100, "file")])
def test_what_is_replaced_while_it_is_copied_is_restored_whole_or_not_at_all(
    times: int, target: str, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A work folder of a job that goes on: half of one copy and half of the next are none."""
    fsspec.register_implementation("busy", BusyStore, clobber=True)
    url, store = make_database("sqlite"), Artifacts(f"busy://{new_id('ds')}", cache=tmp_path / "cache")
    furnish(url, store)
    left = [times]

    def write(place: int) -> None:
        with store.writing(f"jobs/job_1/work/{place}") as folder:
            for name in ("epoch", "state.json"):
                (folder / name).write_text(f"{left}")

    def replace() -> None:
        if left[0]:
            left[0] -= 1
            write(0)

    write(0)
    write(1)
    BusyStore.happens = replace
    saved = save(url, store, tmp_path / "backup")
    assert saved.files == sum(1 for path in (tmp_path / "backup/artifacts").rglob("*") if path.is_file())
    address = f"memory://{new_id('ds')}" if target == "memory" else f"file://{tmp_path}/restored"
    restored = Artifacts(address, cache=tmp_path / "other-cache")
    restore(tmp_path / "backup", make_database("sqlite"), restored)
    assert all(restored.exists(key) for key in ("models/mdl_1", "jobs/job_1/erm", "jobs/job_1/work/1"))
    assert restored.exists("jobs/job_1/work/0") == (times == 1)
    if times == 1:
        folder = restored.folder("jobs/job_1/work/0")
        assert [(folder / name).read_text() for name in ("epoch", "state.json")] == ["[0]", "[0]"]


def test_what_was_cut_off_in_an_object_store_is_not_restored(
    make_database: MakeDatabase, other_artifacts: Artifacts, tmp_path: Path
) -> None:
    """Files without a marker: in a folder they would be an artifact."""
    url, store = make_database("sqlite"), Artifacts(f"memory://{new_id('ds')}", cache=tmp_path / "cache")
    furnish(url, store)
    store.fs.pipe_file(f"{store.root}/jobs/job_1/work/0/epoch", b"half")
    save(url, store, tmp_path / "backup")
    restore(tmp_path / "backup", make_database("sqlite"), other_artifacts)
    assert other_artifacts.exists("models/mdl_1")
    assert not other_artifacts.exists("jobs/job_1/work/0")


def test_a_copy_from_before_a_restore_is_not_taken_for_what_was_restored(
    backup: Path, make_database: MakeDatabase, tmp_path: Path
) -> None:
    address = f"memory://{new_id('ds')}"
    remote = Artifacts(address, cache=tmp_path / "remote-cache")
    restore(backup, make_database("sqlite"), remote)
    before = remote.folder("models/mdl_1")
    restore(backup, make_database("sqlite"), Artifacts(address, cache=tmp_path / "other"))
    assert remote.folder("models/mdl_1") != before


def test_nothing_is_restored_over_rows(
    backup: Path, make_database: MakeDatabase, other_artifacts: Artifacts
) -> None:
    url = make_database("sqlite")
    furnish(url, other_artifacts)
    before = rows(url)
    with pytest.raises(NotRestorable, match="the database is not empty"):
        restore(backup, url, other_artifacts)
    assert rows(url) == before


def test_half_a_backup_and_one_of_a_newer_version_are_refused(
    backup: Path, make_database: MakeDatabase, other_artifacts: Artifacts
) -> None:
    url, about = make_database("sqlite"), backup / "backup.json"
    words = json.loads(about.read_text())
    about.write_text(json.dumps(words | {"revision": "v9999"}))
    with pytest.raises(NotRestorable, match="newer version"):
        restore(backup, url, other_artifacts)
    about.unlink()
    with pytest.raises(NotRestorable, match="not a complete backup"):
        restore(backup, url, other_artifacts)


@pytest.mark.parametrize("listed", [True, False])
def test_a_backup_of_an_earlier_checkout_is_refused(
    listed: bool, backup: Path, other_artifacts: Artifacts, tmp_path: Path
) -> None:
    other, about = f"sqlite:///{tmp_path}/other.db", backup / "backup.json"
    words = json.loads(about.read_text()) | {"revision": "0010"}
    if not listed:
        (backup / "files.jsonl").unlink()
        del words["sha256"]
    about.write_text(json.dumps(words))
    with pytest.raises(schema.EarlierCheckout, match=r"made the backup .revision 0010.*an empty database"):
        restore(backup, other, other_artifacts)
    assert not other_artifacts.fs.exists(other_artifacts.root)
    assert rows(other) == {}


def test_the_database_of_an_earlier_checkout_is_not_backed_up(
    make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    """Nothing restores such a backup."""
    url = make_database("sqlite")
    furnish(url, artifacts)
    with closing(Database(url)) as database, database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0016'"))
    with pytest.raises(schema.EarlierCheckout, match=r"made the database .revision 0016"):
        save(url, artifacts, tmp_path / "backup")
    assert not (tmp_path / "backup" / "backup.json").exists()


def test_a_folder_that_holds_something_is_refused(
    make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    url = make_database("sqlite")
    furnish(url, artifacts)
    with pytest.raises(NotRestorable, match="name a new or empty folder"):
        save(url, artifacts, tmp_path)


def test_the_backup_and_restore_commands(
    make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path
) -> None:
    first, second = make_database("sqlite"), f"sqlite:///{tmp_path}/restored.db"
    furnish(first, artifacts)

    def masktune(database: str, storage: str, command: str) -> Result:
        environment = {
            "MASKTUNE_DATABASE_URL": database,
            "MASKTUNE_STORAGE_URL": storage,
            "MASKTUNE_DATA_DIR": str(tmp_path),
        }
        return CliRunner().invoke(app, [command, str(tmp_path / "backup")], env=environment)

    saved = masktune(first, f"file://{tmp_path}/artifacts", "backup")
    assert (saved.exit_code, saved.stdout.startswith("saved: ")) == (0, True), saved.stderr
    restored = masktune(second, f"file://{tmp_path}/elsewhere", "restore")
    assert (restored.exit_code, restored.stdout.startswith("restored: ")) == (0, True), restored.stderr
    assert rows(second) == rows(first)
    again = masktune(second, f"file://{tmp_path}/elsewhere", "restore")
    assert again.exit_code == 1
    assert again.stderr.startswith("masktune: the restore failed: the database is not empty")


def test_the_databases_own_tools(make_database: MakeDatabase, artifacts: Artifacts, tmp_path: Path) -> None:
    """What docs/how-to/backup.md says for a database that is too large to be copied row by row."""
    needs("pg_dump")
    first, dump = make_database("postgresql"), str(tmp_path / "masktune.dump")
    furnish(first, artifacts)
    with database_without_tables() as second:
        plain = {url: url.replace("postgresql+psycopg://", "postgresql://") for url in (first, second)}
        for command in (
            ["pg_dump", "--format=custom", f"--file={dump}", plain[first]],
            ["pg_restore", "--no-owner", "--exit-on-error", f"--dbname={plain[second]}", dump],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert rows(second) == rows(first)
        schema.upgrade(second)
        assert rows(second) == rows(first)
