"""The features of a frozen backbone, computed once for all stages and jobs that use them.

The artifact `features/{data set}/{digest}-{split}` holds `values.npy`, (N, D) float32: the last layer's
inputs for the images of the split in stored order. That of `train` also holds the early stages of the same
pass (`StageFeatures.save_early`), which infer groups. The digest is of the weights below the last layer, the
input size and the data set, so an artifact is never out of date. Deleting the data set deletes them all.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.artifacts import ArtifactMissing
from models.backbones.network import Network
from models.mitigation.features import Features, compute_features, head_of
from models.mitigation.stage_features import STAGES_FILE, StageFeatures, compute_stage_features, shuffled
from models.run import Progress, Run
from models.training.frozen import FeatureSource, backbone_digest
from worker.stages.context import StageContext
from worker.stages.passes import Passes, loader_for

VALUES = "values.npy"


def frozen_source(context: StageContext, network: Network) -> FeatureSource | None:
    """The features that a training of `network` takes; None unless the job freezes the backbone."""
    if not context.params.freeze_backbone:
        return None
    frozen, passes = FrozenFeatures(context, network), Passes(context.run, 2)  # of train and val

    def features(split: str) -> NDArray[np.float32]:
        with passes.next() as run:
            return frozen.load(split, run)

    return features


class FrozenFeatures:
    """The features of each split for one backbone: read, or computed by a forward pass and kept."""

    def __init__(self, context: StageContext, network: Network) -> None:
        self._context, self._network = context, network
        identity = f"{backbone_digest(network)} {context.store.digest}"
        self._digest = hashlib.sha256(identity.encode()).hexdigest()[:32]

    def load(self, split: str, run: Run) -> NDArray[np.float32]:
        """(N, D), mapped from the artifact's file."""
        values: NDArray[np.float32] = np.load(self._folder(split, run, VALUES) / VALUES, mmap_mode="r")
        return values

    def load_stages(self, run: Run) -> StageFeatures:
        """Those of the training split; the early stages are mapped from the artifact's files."""
        # The artifact of an earlier version has no early stages: it is computed again.
        folder, rows = self._folder("train", run, STAGES_FILE), self._context.store.rows("train")
        values = np.load(folder / VALUES)
        logits = head_of(self._network).logits(values)
        return StageFeatures.load(folder, Features(rows, self._context.store.labels[rows], values, logits))

    def _folder(self, split: str, run: Run, required: str) -> Path:
        """The artifact's folder, computed unless it is there with the file `required`."""
        assert self._context.spec.dataset is not None
        key = f"features/{self._context.spec.dataset.id}/{self._digest}-{split}"
        try:
            present = (self._context.artifacts.folder(key) / required).is_file()
        except ArtifactMissing:
            present = False
        if not present:
            with self._context.artifacts.writing(key) as target:
                self._compute(split, run, target)
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
        return self._context.artifacts.folder(key)

    def _compute(self, split: str, run: Run, target: Path) -> None:
        network, rows = self._network.to(run.device), self._context.store.rows(split)
        if split == "train":
            loader = loader_for(self._context, network, shuffled(rows), run)
            features = compute_stage_features(network, loader, run)
            features.save_early(target)
            values = features.last.values
        else:
            values = compute_features(network, loader_for(self._context, network, rows, run), run).values
        np.save(target / VALUES, values)
