"""What an attempt leaves, the next one finds: here, and on a remote store."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from worker.workspace import Workspace, copy_files


@pytest.fixture
def remote(tmp_path: Path) -> Artifacts:
    """An object store: no rename, no folders."""
    return Artifacts(f"memory://{uuid.uuid4().hex}", cache=tmp_path / "cache")


def test_the_number_of_threads_is_that_of_the_first_attempt(artifacts: Artifacts, tmp_path: Path) -> None:
    assert Workspace.started(artifacts, "job_1", scratch=tmp_path).threads(3) == 3
    assert Workspace.started(artifacts, "job_1", scratch=tmp_path).threads(8) == 3
    assert Workspace.started(artifacts, "job_2", scratch=tmp_path).threads(8) == 8


def test_a_local_work_folder_lies_in_the_store(artifacts: Artifacts, tmp_path: Path) -> None:
    workspace = Workspace.started(artifacts, "job_1", scratch=tmp_path / "scratch")
    (workspace.path / "epoch").write_text("1")
    workspace.save()
    assert artifacts.exists("jobs/job_1/work")
    assert (Workspace.started(artifacts, "job_1", scratch=tmp_path).path / "epoch").read_text() == "1"
    artifacts.delete(workspace.key)
    assert not workspace.path.exists()


def test_another_host_goes_on_from_the_newest_copy(remote: Artifacts, tmp_path: Path) -> None:
    first = Workspace.started(remote, "job_1", scratch=tmp_path / "a")
    assert first.threads(2) == 2
    for epoch in ("1", "2", "3"):
        (first.path / "epoch").write_text(epoch)
        first.save()
    (first.path / "epoch").write_text("4: never saved")
    second = Workspace.started(remote, "job_1", scratch=tmp_path / "b")
    assert (second.path / "epoch").read_text() == "3"
    assert second.threads(7) == 2
    (second.path / "epoch").write_text("5")
    second.save()
    again = Workspace.started(remote, "job_1", scratch=tmp_path / "a")
    assert (again.path / "epoch").read_text() == "5"


def test_a_copy_that_was_cut_off_leaves_the_one_before(remote: Artifacts, tmp_path: Path) -> None:
    workspace = Workspace.started(remote, "job_1", scratch=tmp_path / "a")
    for epoch in ("1", "2"):
        (workspace.path / "epoch").write_text(epoch)
        workspace.save()
    remote.fs.rm_file(f"{remote.root}/jobs/job_1/work/0/.complete")  # the second copy went there
    found = Workspace.started(remote, "job_1", scratch=tmp_path / "b")
    assert (found.path / "epoch").read_text() == "1"


def test_a_done_job_leaves_no_copies(remote: Artifacts, tmp_path: Path) -> None:
    workspace = Workspace.started(remote, "job_1", scratch=tmp_path)
    (workspace.path / "epoch").write_text("1")
    workspace.save()
    workspace.close([])
    remote.delete(workspace.key)
    assert not workspace.path.exists()
    assert remote.fs.find(remote.root) == []


def test_what_killed_attempts_left_half_written_goes(artifacts: Artifacts, tmp_path: Path) -> None:
    root = Path(artifacts.root)
    for name in ("jobs/job_1/.erm.x1", "models/.mdl_1.y2", "models/.mdl_2.z3", "models/mdl_1"):
        (root / name).mkdir(parents=True)
    Workspace.started(artifacts, "job_1", scratch=tmp_path).close(["jobs/job_1/erm", "models/mdl_1"])
    assert sorted(p.name for p in (root / "models").iterdir()) == [".mdl_2.z3", "mdl_1"]
    assert not (root / "jobs/job_1/.erm.x1").exists()


def test_files_are_copied_without_folders(tmp_path: Path) -> None:
    (tmp_path / "a/inner").mkdir(parents=True)
    (tmp_path / "a/file").write_text("x")
    copy_files(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["file"]
    assert (tmp_path / "b/file").read_text() == "x"
