"""The cost of a model's own mask: a shortcut shows as a small mask that changes many answers.

The same mask elsewhere distinguishes a mask that hides what matters from one that merely damages the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics import Names
from models.evaluation.paired import Difference, paired_difference
from models.shortcuts.saliency_summary import mean_interval
from models.statistics import clustered_wilson, count_clusters, percent
from models.types import Bools, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from masktune.contract.hyperparameters import MaskingConfig
    from models.backbones.network import Network
    from models.data.loading.batches import Batch, Loader
    from models.masking.compute import PredictionMaps
    from models.run import Run

ArmName = Literal["plain", "own", "elsewhere"]
"""What is masked: nothing; the model's own mask; that mask shifted cyclically."""


class MaskedPredictions(NamedTuple):
    """Predictions for N images under each arm, (N,) each; −1 if a logit is not finite.

    `masked` (N,) is the share of masked pixels, 0..1.
    """

    rows: Labels
    labels: Labels
    masked: NDArray[np.float64]
    plain: Labels
    own: Labels
    elsewhere: Labels


def predict_under_masks(
    networks: Sequence[Network],
    loader: Loader,
    plain: Sequence[PredictionMaps],
    config: MaskingConfig,
    run: Run,
) -> list[MaskedPredictions]:
    """Run two forward passes of each network over the images of `loader`, masked, in evaluation mode.

    The masks are those that `config` makes for training from the maps of `plain`, one of each network, in
    which all these rows are; its answers are those for the whole images. The position of a shifted mask
    depends on (`run.seed`, row) alone. Each image is decoded once. Raises Stopped.
    """
    import torch

    from models.masking.compute import columns_of_each

    def answer(batch: Batch) -> list[tuple[Tensor, ...]]:
        rows = batch.rows.numpy()
        with torch.no_grad():
            return [
                _answers(network, batch, maps.at(rows), config=config, seed=run.seed)
                for network, maps in zip(networks, plain, strict=True)
            ]

    return columns_of_each(networks, loader, run, answer, MaskedPredictions)


def _answers(
    network: Network, batch: Batch, plain: PredictionMaps, *, config: MaskingConfig, seed: int
) -> tuple[Tensor, ...]:
    """Fields of `MaskedPredictions`, in order, from the maps and answers for the whole images."""
    import torch

    from models.masking.compute import predicted_classes
    from models.masking.rule import apply_masks, masks_of

    size = (batch.images.shape[2], batch.images.shape[3])
    maps = torch.from_numpy(plain.maps).to(batch.images.device)
    own = masks_of(maps, size, sigmas=config.fixed_sigmas, share=config.share)
    arms = own, shifted(own, batch.rows, seed=seed)
    predicted = [predicted_classes(network(apply_masks(batch.images, arm, config.fill))) for arm in arms]
    masked = own.sum((1, 2)).to(torch.float64) / (size[0] * size[1])
    return tuple(
        column.cpu()
        for column in (batch.rows, batch.labels, masked, torch.from_numpy(plain.predicted), *predicted)
    )


def shifted(masked: Tensor, rows: Tensor, *, seed: int) -> Tensor:
    """Shift masks (B, H, W) bool cyclically by a random nonzero offset, keeping their size and shape.

    The offset depends on (`seed`, row) alone, never on the batch or the device.
    """
    import torch

    height, width = masked.shape[1:]
    draws = [np.random.default_rng([seed, row]).integers(1, height * width) for row in rows.tolist()]
    steps = torch.tensor(np.array(draws), device=masked.device)
    down, right = steps // width, steps % width
    y = (torch.arange(height, device=masked.device) - down[:, None]) % height  # (B, H)
    x = (torch.arange(width, device=masked.device) - right[:, None]) % width  # (B, W)
    image = torch.arange(len(masked), device=masked.device)
    return masked[image[:, None, None], y[:, :, None], x[:, None, :]]


@dataclass(frozen=True)
class Arm:
    """`correct` and `changed` (differs from the plain image's answer) of `n`, with 95 % Wilson intervals."""

    name: ArmName
    n: int
    n_subjects: int | None
    correct: int
    accuracy: float
    low: float
    high: float
    changed: int
    changed_share: float
    changed_low: float
    changed_high: float


@dataclass(frozen=True)
class SliceCost:
    """The arms on the images of one class or group."""

    id: int
    name: str
    n: int
    masked_share: float
    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class MaskingCost:
    """How masks change the answers on `n` images.

    `masked_share` is the mean share of pixels in the model's own mask, with its 95 % interval;
    `nothing_masked` images have an empty mask. `cost` is the accuracy plain − own mask. `beyond_elsewhere`
    is the accuracy with the mask elsewhere − own (negative if the mask helps, as on images that contradict a
    shortcut). `changes_beyond_elsewhere` counts changed answers instead, so it needs no labels, and is the
    one to read if a split mixes images for and against a shortcut: above 0, the model depends on what its
    mask hides.
    """

    n: int
    masked_share: float
    masked_low: float
    masked_high: float
    nothing_masked: int
    arms: tuple[Arm, ...]
    cost: Difference
    beyond_elsewhere: Difference
    changes_beyond_elsewhere: Difference
    classes: tuple[SliceCost, ...]
    groups: tuple[SliceCost, ...]
    sentence: str


def masking_cost(
    predictions: MaskedPredictions,
    *,
    generator: np.random.Generator,
    groups: Labels | None = None,
    clusters: Labels | None = None,
    names: Names | None = None,
) -> MaskingCost:
    """Count what masks change.
    Raises ValueError without images.

    `groups` (N,) are −1 where unknown, `clusters` (N,) equal where two images are not independent.
    """
    if len(predictions.rows) == 0:
        raise ValueError("there is no image to mask")
    names = names or Names()
    by_arm = _by_arm(predictions)
    right = {arm: predicted == predictions.labels for arm, predicted in by_arm.items()}
    changed = {arm: predicted != predictions.plain for arm, predicted in by_arm.items()}
    arms = _arms(predictions, clusters, np.ones(len(predictions.rows), bool))
    low, high = mean_interval(predictions.masked, clusters=clusters)

    def difference(first: Bools, second: Bools) -> Difference:
        return paired_difference(first, second, clusters=clusters, generator=generator)

    return MaskingCost(
        n=len(predictions.rows),
        masked_share=float(predictions.masked.mean()),
        masked_low=low,
        masked_high=high,
        nothing_masked=int((predictions.masked == 0).sum()),
        arms=arms,
        cost=difference(right["plain"], right["own"]),
        beyond_elsewhere=difference(right["elsewhere"], right["own"]),
        changes_beyond_elsewhere=difference(changed["own"], changed["elsewhere"]),
        classes=_by_slice(predictions, predictions.labels, clusters, names.classes),
        groups=_by_slice(predictions, groups, clusters, names.groups) if groups is not None else (),
        sentence=_sentence(float(predictions.masked.mean()), {arm.name: arm for arm in arms}),
    )


def _by_arm(predictions: MaskedPredictions) -> dict[ArmName, Labels]:
    return {
        "plain": predictions.plain,
        "own": predictions.own,
        "elsewhere": predictions.elsewhere,
    }


def _arms(
    predictions: MaskedPredictions, clusters: Labels | None, inside: NDArray[np.bool_]
) -> tuple[Arm, ...]:
    n, of = int(inside.sum()), None if clusters is None else clusters[inside]
    subjects = count_clusters(of)

    def share(events: Bools) -> tuple[int, float, float, float]:
        count = int(events.sum())
        return count, count / n, *clustered_wilson(events, of)

    return tuple(
        Arm(
            name,
            n,
            subjects,
            *share((predicted == predictions.labels)[inside]),
            *share((predicted != predictions.plain)[inside]),
        )
        for name, predicted in _by_arm(predictions).items()
    )


def _by_slice(
    predictions: MaskedPredictions, slices: Labels, clusters: Labels | None, names: Sequence[str]
) -> tuple[SliceCost, ...]:
    costs = []
    for key in np.unique(slices[slices >= 0]).tolist():
        inside = slices == key
        name = names[key] if key < len(names) else str(key)
        share = float(predictions.masked[inside].mean())
        costs.append(SliceCost(key, name, int(inside.sum()), share, _arms(predictions, clusters, inside)))
    return tuple(costs)


def _sentence(masked: float, arms: Mapping[ArmName, Arm]) -> str:
    plain, own, elsewhere = arms["plain"], arms["own"], arms["elsewhere"]
    return (
        f"Its own mask, {percent(masked)} of the image, takes its accuracy from {percent(plain.accuracy)} "
        f"to {percent(own.accuracy)} and changes {percent(own.changed_share)} of its answers; "
        f"the same mask somewhere else leaves {percent(elsewhere.accuracy)} "
        f"and changes {percent(elsewhere.changed_share)}."
    )
