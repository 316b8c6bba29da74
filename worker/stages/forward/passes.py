"""Passes over a split: their batches, and their progress as parts of a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Crop
from models.backbones.network import Network
from models.data.loading.batches import StoreLoader, make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.evaluation.metrics import Logits, predict_logits
from models.mitigation.features import head_of
from models.run import Progress, Run
from worker.stages.context import StageContext

_SMALL, _SMALL_BATCH, _LARGE_BATCH = 64, 256, 32
"""Images of up to 64 px are evaluated 256 at a time, larger ones 32."""


def loader_for(
    context: StageContext,
    network: Network,
    rows: NDArray[np.int64],
    run: Run | None = None,
    *,
    crop: Crop = "none",
) -> StoreLoader:
    """A loader of these rows in this order, at the network's input size; `crop` is for saliency only."""
    size = network.spec.image_size
    settings = LoaderSettings(size, _SMALL_BATCH if size <= _SMALL else _LARGE_BATCH, crop=crop)
    return make_loader(context.store, rows, settings, run or context.run)


def logits_of(
    context: StageContext, network: Network, split: str, run: Run, features: NDArray[np.float32] | None
) -> Logits:
    """The logits of every sample of the split, in stored order: the last layer's on its `features` (N, D),
    else by a forward pass."""
    rows = context.store.rows(split)
    if features is None:
        return predict_logits(network, loader_for(context, network, rows, run), run)
    return Logits(rows, context.store.labels[rows], head_of(network).logits(features))


class Passes:
    """The progress of a stage that makes `count` passes or trainings, or more: each has its share."""

    def __init__(self, run: Run, count: int) -> None:
        self._run, self._count, self._begun = run, count, 0

    @contextmanager
    def next(self) -> Iterator[Run]:
        """The run of the next pass."""
        before, self._begun = self._begun, self._begun + 1
        count = max(self._count, self._begun)

        def report(progress: Progress) -> None:
            """Report all passes as the steps of one epoch, in whole numbers so that the fraction is exact."""
            epochs = max(1, progress.epochs)
            steps = progress.steps * epochs
            done = steps * before + min(steps, progress.epoch * progress.steps + progress.step)
            self._run.on_progress(Progress(0, 1, done, steps * count, progress.images_per_second))

        yield replace(self._run, on_progress=report)
