"""A frozen backbone: features are computed once, and only the last layer is trained, on those features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbones.network import Network
from models.data.loading.batches import Batch, plan, to_device
from models.run import Run
from models.training.checkpoints import tensors_digest
from models.types import Labels

FeatureSource = Callable[[str], NDArray[np.float32]]
"""Split name → the features (N, D) of its images, in stored order."""


class FeatureLoader:
    """A `Loader` whose batches hold features (B, D) where others hold images, in the same shuffled order."""

    def __init__(
        self, values: NDArray[np.float32], labels: Labels, rows: Labels, *, batch_size: int, run: Run
    ) -> None:
        self._values = torch.from_numpy(values).to(run.device)
        self._labels = torch.from_numpy(labels).to(run.device)
        self._rows = torch.from_numpy(rows)
        self._batch_size = batch_size

    @property
    def images(self) -> int:
        return len(self._rows)

    def __len__(self) -> int:
        return len(self._parts(torch.arange(self.images)))

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        order = torch.arange(self.images)
        if generator is not None:
            order = torch.randperm(self.images, generator=generator)
        for positions in self._parts(order):
            on_device = to_device(positions, self._values.device)
            yield Batch(self._values[on_device], self._labels[on_device], self._rows[positions])

    def _parts(self, order: Tensor) -> list[Tensor]:
        return plan(order, self._batch_size)


def backbone_weights(network: Network) -> dict[str, Tensor]:
    """The parameters and buffers below the last layer, by name."""
    last = tuple(f"{name}." for name in network.classifier_names)
    return {name: t for name, t in network.model.state_dict().items() if not name.startswith(last)}


def backbone_digest(network: Network) -> str:
    """SHA-256 of what decides the features of an image: the weights below the last layer, size, mean, std."""
    spec, weights = network.spec, tensors_digest(backbone_weights(network))
    identity = f"{spec.name} {spec.image_size} {spec.mean} {spec.std} {weights}"
    return hashlib.sha256(identity.encode()).hexdigest()
