"""What networks answer and where they look, on many images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from masktune.contract.hyperparameters import MaskingConfig
from models.backbones.network import Network
from models.data.loading.batched_eval import evaluating, map_batches
from models.data.loading.batches import Batch, Loader
from models.masking.compute import method_of, target_of
from models.masking.rule import masks_of
from models.run import Run
from models.saliency import activation_of, saliency_of_activation
from models.types import Floats, Labels, Maps


class PredictionMaps(NamedTuple):
    """One network's answers for N images: predicted classes (N,), −1 if a logit is not finite, and their
    probabilities (N,).

    `maps` (N, h, w) explain the class that the masks explain. `masked` (N,) is the share of pixels, 0..1, in
    the mask that training would make of the map. `rows` (N,) are those of the store.
    """

    rows: Labels
    predicted: Labels
    probabilities: Floats
    maps: Maps
    masked: Floats

    def at(self, rows: Labels) -> PredictionMaps:
        """Those of these rows; both ascend."""
        at = np.searchsorted(self.rows, rows)
        return PredictionMaps(
            rows, self.predicted[at], self.probabilities[at], self.maps[at], self.masked[at]
        )


def predict_with_maps(
    networks: Sequence[Network], loader: Loader, config: MaskingConfig, run: Run
) -> list[PredictionMaps]:
    """Run networks that differ in their last layers alone over the images, with one pass of the backbone.

    In evaluation mode. Raises Stopped.
    """

    def answer(batch: Batch) -> list[tuple[Tensor, ...]]:
        activation = activation_of(networks[0], batch.images)
        return [_columns(network, activation, batch, config) for network in networks]

    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(evaluating(network))
        batches = list(map_batches(loader, run, answer))
    return [
        PredictionMaps(*(torch.cat(column).numpy() for column in zip(*parts, strict=True)))
        for parts in zip(*batches, strict=True)
    ]


def _columns(network: Network, activation: Tensor, batch: Batch, config: MaskingConfig) -> tuple[Tensor, ...]:
    """Fields of `PredictionMaps`, in order."""
    method, target = method_of(config), target_of(config, batch)
    maps, logits, _ = saliency_of_activation(
        network, activation, method=method, target=target, images=batch.images
    )
    predicted = predicted_classes(logits)
    probabilities = logits.float().softmax(1).amax(1).double()
    size = (batch.images.shape[2], batch.images.shape[3])
    masks = masks_of(maps, size, sigmas=config.fixed_sigmas, share=config.share)
    columns = batch.rows, predicted, probabilities, maps, masks.float().mean((1, 2)).double()
    return tuple(column.cpu() for column in columns)


def predicted_classes(logits: Tensor) -> Tensor:
    """(B, K) → (B,); −1, which is never right, if a logit is not finite, as in `metrics.Logits`."""
    return logits.argmax(1).where(logits.isfinite().all(1), -1)
