"""The models' logits on each split."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from models.backbones.network import Network
from models.evaluation.metrics import Logits
from models.runtime.files import replacing
from worker.results import ModelSpec
from worker.stages.context import StageContext
from worker.stages.forward.features import FrozenFeatures
from worker.stages.forward.passes import Passes, logits_of
from worker.stages.training import load


def of_rows(logits: Logits, rows: NDArray[np.int64]) -> Logits:
    """The logits of these rows only."""
    inside = np.isin(logits.rows, rows)
    if inside.all():
        return logits
    return Logits(logits.rows[inside], logits.labels[inside], logits.logits[inside])


class LogitsCache:
    """The models' logits on splits. Each network is loaded once; each pass has its share of the progress.

    A frozen backbone is not run again: its logits are the last layer's on the features of the split.
    """

    def __init__(self, context: StageContext, *, passes: int) -> None:
        self._context, self.passes = context, Passes(context.run, passes)
        self._networks: dict[str, Network] = {}
        self._frozen: dict[str, FrozenFeatures] = {}
        self._images, self._seconds = 0, 0.0

    @property
    def images_per_second(self) -> float | None:
        """Throughput of the forward passes for `logits`; None before the first."""
        return round(self._images / self._seconds, 1) if self._seconds else None

    def network(self, model: ModelSpec) -> Network:
        if model.id not in self._networks:
            network, card = load(self._context, model)
            self._networks[model.id] = network
            if card.hyperparameters.get("freeze_backbone"):
                self._frozen[model.id] = FrozenFeatures(self._context, network)
        return self._networks[model.id]

    def logits(self, model: ModelSpec, split: str, *, keep: bool = False) -> Logits:
        """The logits of every sample of the split, in stored order; `keep` saves them for later stages."""
        file = self._context.workspace.path / "logits" / f"{model.id}-{split}.npz"
        with self.passes.next() as run:
            if file.exists():
                with np.load(file) as columns:
                    return Logits(**columns)
            network, frozen = self.network(model), self._frozen.get(model.id)
            features = None if frozen is None else frozen.load(split, run)
            started = time.monotonic()
            logits = logits_of(self._context, network, split, run, features)
            if features is None:  # else there was no forward pass, for the throughput to count
                self._images += len(logits.rows)
                self._seconds += time.monotonic() - started
        if keep:
            file.parent.mkdir(exist_ok=True)
            with replacing(file) as partial:
                np.savez(partial, **logits._asdict())
        return logits
