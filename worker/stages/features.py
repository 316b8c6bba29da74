"""The features of a frozen backbone, computed once for all stages and jobs that use them.

The artifact `features/{data set}/{digest}-{split}` holds `values.npy`, (N, D) float32: the last layer's
inputs for the images of the split in stored order. The digest is of the weights below the last layer, the
input size and the data set, so an artifact is never out of date. Deleting the
data set deletes them all.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from core.artifacts import ArtifactMissing
from models.backbones.network import Network
from models.mitigation.features import compute_features
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
        assert self._context.spec.dataset is not None
        key = f"features/{self._context.spec.dataset.id}/{self._digest}-{split}"
        try:
            folder = self._context.artifacts.folder(key)
        except ArtifactMissing:
            loader = loader_for(self._context, self._network, self._context.store.rows(split), run)
            computed = compute_features(self._network.to(run.device), loader, run).values
            with self._context.artifacts.writing(key) as target:
                np.save(target / VALUES, computed)
            folder = self._context.artifacts.folder(key)
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
        values: NDArray[np.float32] = np.load(folder / VALUES, mmap_mode="r")
        return values
