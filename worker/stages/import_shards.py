"""The shards of an import as artifacts in the job's work folder, from which another attempt goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from models.data.importing.parts import ShardFolder
from models.data.importing.shards import ImportPass
from worker.stages.context import StageContext


class ImportShards:
    """Computes those that are not there yet. `saved`: one was put since it was last reset."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self.saved = False

    def compute(self, import_pass: ImportPass, on_checked: Callable[[int], None]) -> ShardFolder:
        """As `models.data.importing.datasets.ComputeShards` says."""
        artifacts, workspace, sizes = self._context.artifacts, self._context.workspace, import_pass.sizes
        keys = [f"{workspace.key}/shards-{import_pass.key}/{number:06}" for number in range(len(sizes))]
        missing = [number for number, key in enumerate(keys) if not artifacts.exists(key)]
        done = sum(sizes) - sum(sizes[number] for number in missing)

        def on_image() -> None:
            nonlocal done
            done += 1
            on_checked(done)

        for number, write in import_pass.compute(missing, on_image):
            folder = _empty(workspace.path / "shard")
            write(folder)
            artifacts.put_if_absent(folder, keys[number])
            shutil.rmtree(folder, ignore_errors=True)
            self.saved = True
        return lambda number: artifacts.folder(keys[number])


def _empty(folder: Path) -> Path:
    """A killed attempt may have left files in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
