"""Stage features of a few images, in memory: what a job computes in shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.backbones.network import Network
from models.data.loading.batched_eval import map_batches
from models.data.loading.batches import StoreLoader
from models.mitigation.features import Features, columns_by_row
from models.mitigation.stage_features import (
    StageFeatures,
    Vectors,
    principal_coordinates,
    save_axes,
    stage_passes,
)
from models.mitigation.stages import early_stages
from models.run import Run


def compute_stage_features(network: Network, loader: StoreLoader, run: Run) -> StageFeatures:
    """Of a network with early stages, in ascending order of rows; `loader` gives them `shuffled`."""
    stages, waiting = early_stages(network), deque[tuple[Tensor, ...]]()

    with stage_passes(network, stages) as forward:

        def vectors() -> Iterator[Vectors]:
            for columns, early in map_batches(loader, run, forward):
                waiting.append(columns)
                yield early

        axes, by_batch = principal_coordinates(vectors())
        batches = ((*waiting.popleft(), *coordinates) for coordinates in by_batch)
        rows, labels, values, logits, *early = columns_by_row(batches, loader.rows)
    return StageFeatures(Features(rows, labels, values, logits), stages, tuple(early), axes)


def pooled_features(network: Network, loader: StoreLoader, run: Run) -> list[NDArray[np.float32]]:
    """The pooled features (N, D) of each early stage, in ascending order of rows."""
    with stage_passes(network, early_stages(network)) as forward:
        batches = ((columns[0], *pooled) for columns, pooled in map_batches(loader, run, forward))
        return columns_by_row(batches, loader.rows)[1:]


def save_early(features: StageFeatures, folder: Path) -> None:
    """Write what `StageFeatures.load` reads."""
    for number, coordinates in enumerate(features.early):
        np.save(folder / f"early-{number}.npy", coordinates)
    save_axes(folder, features.stages, features.axes)
