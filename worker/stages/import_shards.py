"""An import's pass over its images, as one in shards of its job's. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from models.data.importing.parts import ShardFolder
from models.data.importing.shards import ImportPass
from models.data.report import ImportStopped
from models.run import Progress
from worker.passes.shards import Arguments, OnProgress, shard_key
from worker.stages.context import StageContext


class ShardedImport:
    """An import's pass as one of a job's."""

    name = "import"
    title = "the check of images"

    def __init__(self, context: StageContext, import_pass: ImportPass) -> None:
        self._context, self._pass = context, import_pass
        self.sizes: Sequence[int] = import_pass.sizes
        self.key = f"{context.workspace.key}/shards-{import_pass.key}"
        self.arguments: Arguments | None = {} if import_pass.remote else None

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """As in `ShardedPass`."""
        images, done = sum(self.sizes), count(1)

        def on_image() -> None:
            if self._context.should_stop():
                raise ImportStopped
            on_progress(Progress(0, 1, next(done), images, 0.0))

        return self._pass.compute(numbers, on_image)


class ImportShards:
    """Has the missing ones computed. `saved`: one was put since it was last reset."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self.saved = False

    def compute(self, import_pass: ImportPass, on_checked: Callable[[int], None]) -> ShardFolder:
        """As `models.data.importing.datasets.ComputeShards` says."""
        sharded = ShardedImport(self._context, import_pass)

        def on_progress(progress: Progress) -> None:
            self.saved = self.saved or progress.checkpoint
            on_checked(progress.step)

        self._context.compute_shards(sharded, on_progress)
        return lambda number: self._context.artifacts.folder(shard_key(sharded.key, number))
