"""A job's work folder: checkpoints of running stages, and state that must be the same at every attempt.

With a local store it lies beside the job's artifacts. With a remote store it is a local folder that is
copied to the store after each epoch, so that another host can continue the job. The copies alternate
between two keys, since an object store cannot replace a folder atomically.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

from core.settings import Settings
from core.storage.artifacts import ArtifactMissing, Artifacts
from models.runtime.files import replacing

STATE = "state.json"


def usual_threads(settings: Settings) -> int:
    """How many threads the first attempt at a job takes on this host."""
    return settings.threads or len(os.sched_getaffinity(0)) // settings.worker_slots or 1


class Workspace:
    """`jobs/{id}/work`; below its `path`, each stage has a folder of its own for checkpoints.

    Only one attempt writes here at a time: no child outlives its worker or its lease.
    """

    def __init__(self, artifacts: Artifacts, job_id: str, *, scratch: Path) -> None:
        self._artifacts = artifacts
        self.key = f"jobs/{job_id}/work"
        self.path = Path(f"{artifacts.root}/{self.key}") if artifacts.local else scratch / "work" / job_id
        self._saved: dict[str, tuple[int, int]] = {}

    @classmethod
    def started(cls, artifacts: Artifacts, job_id: str, *, scratch: Path) -> Self:
        """The work folder for a new attempt; with a remote store, its newest copy is fetched first."""
        workspace = cls(artifacts, job_id, scratch=scratch)
        if not artifacts.local:
            workspace._fetch()
        workspace.path.mkdir(parents=True, exist_ok=True)
        workspace._saved = workspace._files()
        return workspace

    @classmethod
    def of_helper(cls, artifacts: Artifacts, job_id: str, *, scratch: Path, mark: str) -> Self:
        """For a process, of this `mark`, that helps the job: the folder at its `path` is not the job's."""
        workspace = cls(artifacts, job_id, scratch=scratch)
        workspace.path = helper_folder(scratch, mark)
        return workspace

    def threads(self, count: int) -> int:
        """The thread count of the first attempt, kept for all: the rounding of sums depends on it."""
        state = self._state()
        if "threads" not in state:
            state["threads"] = count
            self._write_state(state)
        return state["threads"]

    def save(self) -> None:
        """Copy the folder to a remote store, so that it survives this host.
        Called after each checkpoint."""
        if self._artifacts.local or self._files() == self._saved:
            return
        state = self._state()
        state["copy"] = state.get("copy", 0) + 1
        self._write_state(state)
        self._artifacts.put(self.path, f"{self.key}/{state['copy'] % 2}")
        self._saved = self._files()

    def close(self, written: Iterable[str]) -> None:
        """Clean up after the job's last stage; the supervisor deletes `jobs/{id}/work` itself.

        With a local store, remove half-written versions of the artifacts `written`, left by killed attempts.
        With a remote store, remove the local copy of the work folder.
        """
        if not self._artifacts.local:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for key in written:
            place = Path(f"{self._artifacts.root}/{key}")
            for partial in place.parent.glob(f".{place.name}.*"):
                shutil.rmtree(partial, ignore_errors=True)

    def _fetch(self) -> None:
        """Replace the local folder, which may be from an older attempt on this host, by the newest copy."""
        shutil.rmtree(self.path, ignore_errors=True)
        copies = []
        for place in "01":
            with suppress(ArtifactMissing):
                folder = self._artifacts.folder(f"{self.key}/{place}")
                copies.append((json.loads((folder / STATE).read_text())["copy"], folder))
        if copies:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            max(copies)[1].rename(self.path)
        self._artifacts.copies.forget(self.key)

    def _files(self) -> dict[str, tuple[int, int]]:
        stats = ((p, p.stat()) for p in self.path.rglob("*") if p.is_file())
        return {str(p.relative_to(self.path)): (s.st_mtime_ns, s.st_size) for p, s in stats}

    def _state(self) -> dict[str, int]:
        try:
            state: dict[str, int] = json.loads((self.path / STATE).read_text())
        except FileNotFoundError:
            return {}
        return state

    def _write_state(self, state: dict[str, int]) -> None:
        with replacing(self.path / STATE) as file:
            file.write(json.dumps(state).encode())


def helper_folder(scratch: Path, mark: str) -> Path:
    """Where a process that helps a job has its files; its worker removes them when it has ended."""
    return scratch / "work" / mark


def copy_files(source: Path, target: Path) -> None:
    """Copy the files of one folder into another, as hard links where possible: they are never changed."""
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        if file.is_file():
            try:
                os.link(file, target / file.name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, target / file.name)
