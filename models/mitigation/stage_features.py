"""The last layer's inputs and the early stages' features, from one forward pass over the images."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.data.loading.batched_eval import evaluating
from models.data.loading.batches import plan
from models.mitigation.features import Features, forward_batch, inputs_of, linear_layer
from models.mitigation.stages import Stage, as_grid, early_stages, outputs_of
from models.runtime.files import replacing
from models.types import Labels

if TYPE_CHECKING:
    from models.backbones.network import Network
    from models.data.loading.batches import Batch

STAGES_FILE = "stages.json"
_DIRECTIONS = 400
_GRID = 4  # places a side: a coin in a corner is lost in the mean over the whole image
FITTING_IMAGES = 4096
_FITTING_BYTES = 512 << 20  # fewer images, but not below twice the directions, where there are many channels
_LARGEST = 60_000.0  # that float16 can hold
_CONSTANT = 1e-6  # a pooled feature with a smaller std is not scaled, as in `Standardised`
_ROUNDING = 1e-5  # share of the largest direction's variance below which a direction is a rounding error

Vectors = Sequence[Tensor]
"""Of one batch, the pooled features (B, D) of each stage."""


@dataclass(frozen=True)
class StageFeatures:
    """`last` holds the last layer's inputs.
    `early` has, for each of `stages` from shallow to deep, the samples' principal coordinates, (N, ≤ 400)
    float16, along `axes`. All are in the order of `last.rows`.
    """

    last: Features
    stages: tuple[Stage, ...]
    early: tuple[NDArray[np.float16], ...]
    axes: tuple[Axes, ...]

    @classmethod
    def load(cls, folder: Path, last: Features) -> Self:
        """Join `last` with what `save_axes` wrote, and `early-N.npy` for each stage, from which `early` is
        mapped."""
        stages = load_stages(folder)
        early = [np.load(folder / f"early-{number}.npy", mmap_mode="r") for number in range(len(stages))]
        return cls(last, stages, tuple(early), load_axes(folder, len(stages)))


def save_axes(folder: Path, stages: Sequence[Stage], axes: Sequence[Axes]) -> None:
    """Write `axes-N.npz` for each stage, then `stages.json`: without it, the folder holds no stages."""
    for number, one in enumerate(axes):
        with replacing(folder / axes_file(number)) as file:
            np.savez(file, weight=one.weight.numpy(), offset=one.offset.numpy())
    with replacing(folder / STAGES_FILE) as file:
        file.write(json.dumps([stage._asdict() for stage in stages]).encode())


def load_stages(folder: Path) -> tuple[Stage, ...]:
    """Those that `save_axes` wrote."""
    return tuple(Stage(**stage) for stage in json.loads((folder / STAGES_FILE).read_text()))


def load_axes(folder: Path, count: int) -> tuple[Axes, ...]:
    """Those of so many stages that `save_axes` wrote."""
    return tuple(Axes.load(folder / axes_file(number)) for number in range(count))


def axes_file(number: int) -> str:
    """The name of the file with those of this stage."""
    return f"axes-{number}.npz"


def shuffled(rows: Labels) -> Labels:
    """`rows` in an order without a pattern, the same in every job."""
    return np.random.default_rng(0).permutation(rows)


@contextmanager
def stage_passes(
    network: Network, stages: Sequence[Stage]
) -> Iterator[Callable[[Batch], tuple[tuple[Tensor, ...], Vectors]]]:
    """What `forward_batch` gives of a batch, and the pooled features of these early stages: a function to
    call inside the block, in evaluation mode. Raises HeadError as `compute_features` does.
    """
    layer, names = linear_layer(network), [stage.name for stage in stages]
    with evaluating(network), inputs_of(layer) as received, outputs_of(network, names, pool_stage) as outputs:

        def forward(batch: Batch) -> tuple[tuple[Tensor, ...], Vectors]:
            columns = forward_batch(network, received, batch)
            return columns, [vectors for _, vectors in outputs.take()]

        yield forward


def fitting_split(network: Network, rows: Labels, batch_size: int) -> tuple[Labels, Labels]:
    """The `shuffled` rows in two parts: whole batches, which the axes are fitted to, and the others.

    From the second, only coordinates are kept, 0.8 kB an image and stage. So 100,000 images of a network with
    1,280 last features take 0.8 GB. All rows are in the first part for a network without early stages.
    """
    order = shuffled(rows)
    if not early_stages(network):
        return order, order[:0]
    count = len(fitting_rows(network, rows))
    ends = accumulate(map(len, plan(torch.from_numpy(order), batch_size)))
    end = next(end for end in ends if end >= count)
    return order[:end], order[end:]


def fitting_rows(network: Network, rows: Labels) -> Labels:
    """Those of the `rows` to which the axes are fitted, but for the rest of the last batch: the first that
    are `shuffled`, 4,096 at most, and fewer where there are many channels."""
    width = sum(stage.channels * (2 + 2 * min(_GRID, stage.side) ** 2) for stage in early_stages(network))
    return shuffled(rows)[: _fitting_images(width)]


def pool_stage(output: Any) -> Tensor:
    """Mean and std over the places, and mean and maximum in a grid of 4×4: (B, C, h, w) → (B, 34·C)."""
    grid = as_grid(output)
    assert grid is not None  # `early_stages` names no other modules
    grid = grid.float()
    side = min(_GRID, grid.shape[-1])
    pools = F.adaptive_avg_pool2d(grid, side), F.adaptive_max_pool2d(grid, side)
    std, mean = torch.std_mean(grid, (2, 3))
    return torch.cat([mean, std, *(part.flatten(1) for part in pools)], 1).cpu()


def principal_coordinates(batches: Iterator[Vectors]) -> tuple[tuple[Axes, ...], Iterator[list[Tensor]]]:
    """The directions of each stage in which the images of the first batches differ most; and, for each batch,
    its coordinates (B, ≤ 400) float16 in each stage along these.
    """
    first = deque[Vectors]()
    for vectors in batches:
        first.append(vectors)
        if sum(len(batch[0]) for batch in first) >= _fitting_images(sum(part.shape[1] for part in vectors)):
            break
    axes = tuple(_fit_axes(torch.cat(stage)) for stage in zip(*first, strict=True))

    def coordinates() -> Iterator[list[Tensor]]:
        while first:  # not a loop over it: what has been projected is freed
            yield [one.coordinates(values) for one, values in zip(axes, first.popleft(), strict=True)]
        for vectors in batches:
            yield [one.coordinates(values) for one, values in zip(axes, vectors, strict=True)]

    return axes, coordinates()


def _fitting_images(width: int) -> int:
    """Of `width` pooled features each, over all stages."""
    return max(2 * _DIRECTIONS, min(FITTING_IMAGES, _FITTING_BYTES // (4 * width)))


class Axes(NamedTuple):
    """`weight` (D, P) takes pooled features to coordinates; `offset` (P,) are those of the mean image."""

    weight: Tensor
    offset: Tensor

    @classmethod
    def load(cls, file: Path) -> Self:
        with np.load(file, allow_pickle=False) as arrays:
            return cls(torch.from_numpy(arrays["weight"]), torch.from_numpy(arrays["offset"]))

    def coordinates(self, values: Tensor) -> Tensor:
        return (values @ self.weight - self.offset).clamp(-_LARGEST, _LARGEST).half()


def _fit_axes(values: Tensor) -> Axes:
    """The principal directions of the standardised `values` (n, D), by randomised SVD (Halko et al. 2011)."""
    std, mean = torch.std_mean(values, 0, correction=0)
    scale = torch.where(std < _CONSTANT, 1.0, std)
    standardised = (values - mean) / scale
    count = min(_DIRECTIONS, *values.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, size, directions = torch.svd_lowrank(standardised, q=min(count + 16, *values.shape))
    significant = size[:count].square() > _ROUNDING * size[0].square()
    weight = directions[:, :count][:, significant] / scale[:, None]
    return Axes(weight, mean @ weight)
