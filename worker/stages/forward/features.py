"""The features of a frozen backbone, computed once for all stages and jobs that use them.

The artifact `features/{data set}/{digest}-{split}` holds `values.npy`, (N, D) float32: the last layer's
inputs for the images of the split in stored order. `features/{data set}/{digest}-early` holds the early
stages of the training split (`StageFeatures.save_early`), once a job has inferred groups from them: they cost
half a pass more, which a plain training does not pay. The digest is of the weights below the last layer, the
input size and the data set, so an artifact is never out of date. Deleting the data set deletes them all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.storage.artifacts import ArtifactMissing
from masktune.contract.vocabulary import JobKind
from models.backbones.network import Network
from models.mitigation.features import Features, compute_features, head_of
from models.mitigation.stage_features import StageFeatures, compute_stage_features, shuffled
from models.run import Progress, Run
from models.training.frozen import FeatureSource, backbone_digest
from worker.stages.context import StageContext
from worker.stages.forward.passes import Passes, loader_for

VALUES, EARLY = "values.npy", "early"


def frozen_source(context: StageContext, network: Network) -> FeatureSource | None:
    """The features that a training of `network` takes; None unless the job freezes the backbone."""
    if not context.params.freeze_backbone:
        return None
    frozen, passes = FrozenFeatures(context, network), Passes(context.run, 2)  # of train and val
    early = context.spec.kind is JobKind.MITIGATE and context.retraining.groups == "early_stages"

    def features(split: str) -> NDArray[np.float32]:
        with passes.next() as run:
            if early and split == "train":  # the next stage reads early stages: one pass computes all
                return frozen.load_stages(run).last.values
            return frozen.load(split, run)

    return features


class FrozenFeatures:
    """The features of each split for one backbone: read, or computed by a forward pass and kept."""

    def __init__(self, context: StageContext, network: Network) -> None:
        self._context, self._network = context, network
        identity = f"{backbone_digest(network)} {context.store.digest}"
        self._digest = hashlib.sha256(identity.encode()).hexdigest()[:32]

    def load(self, split: str, run: Run) -> NDArray[np.float32]:
        """(N, D), mapped from the artifact's file; what is written to it stays in memory."""
        folder = self._folder(split)
        if folder is None:
            network, rows = self._network.to(run.device), self._context.store.rows(split)
            loader = loader_for(self._context, network, rows, run)
            folder = self._save_values(split, compute_features(network, loader, run).values)
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
        # Not "r": torch would warn that it cannot write to its share of the memory.
        values: NDArray[np.float32] = np.load(folder / VALUES, mmap_mode="c")
        return values

    def load_stages(self, run: Run) -> StageFeatures:
        """Those of the training split, mapped from the artifacts' files."""
        folder = self._folder(EARLY) or self._save_stages(run)
        return StageFeatures.load(folder, self.load_training(run))

    def load_training(self, run: Run) -> Features:
        """Those of the training split, without early stages."""
        rows, values = self._context.store.rows("train"), self.load("train", run)
        logits = head_of(self._network).logits(values)
        return Features(rows, self._context.store.labels[rows], values, logits)

    def _key(self, part: str) -> str:
        assert self._context.spec.dataset is not None
        return f"features/{self._context.spec.dataset.id}/{self._digest}-{part}"

    def _folder(self, part: str) -> Path | None:
        """The artifact's folder; None if it is not there."""
        try:
            return self._context.artifacts.folder(self._key(part))
        except ArtifactMissing:
            return None

    def _save_stages(self, run: Run) -> Path:
        network, rows = self._network.to(run.device), self._context.store.rows("train")
        features = compute_stage_features(
            network, loader_for(self._context, network, shuffled(rows), run), run
        )
        if self._folder("train") is None:
            self._save_values("train", features.last.values)
        with self._context.artifacts.writing(self._key(EARLY)) as target:
            features.save_early(target)
        return self._context.artifacts.folder(self._key(EARLY))

    def _save_values(self, split: str, values: NDArray[np.float32]) -> Path:
        with self._context.artifacts.writing(self._key(split)) as target:
            np.save(target / VALUES, values)
        return self._context.artifacts.folder(self._key(split))
