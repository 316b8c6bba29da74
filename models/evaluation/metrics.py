"""Accuracy as counts over counts: plain, balanced, per class and group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import (
    Interval,
    Proportion,
    clustered_wilson,
    count_clusters,
    design_effect,
    least_share,
    mean_share,
    wilson,
)
from models.types import Bools, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from models.backbones.network import Network
    from models.data.loading.batches import Batch, Loader
    from models.run import Run


class Logits(NamedTuple):
    """A network's logits for N samples, in stored order, on the CPU."""

    rows: Labels  # (N,) row numbers of the store
    labels: Labels  # (N,)
    logits: NDArray[np.float32]  # (N, K)

    @property
    def predictions(self) -> Labels:
        """(N,) predicted classes; −1 (abstain, never correct) if a logit is not finite."""
        finite = np.isfinite(self.logits).all(1)
        return np.where(finite, self.logits.argmax(1), -1).astype(np.int64)


def confusion(logits: Logits) -> Labels:
    """(K, K + 1) samples of each class by their prediction; the last column is of those without one."""
    classes = logits.logits.shape[1]
    cells = logits.labels * (classes + 1) + logits.predictions % (classes + 1)
    return np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def predict_logits(network: Network, loader: Loader, run: Run) -> Logits:
    """One fp32 forward pass over `loader`, in evaluation mode. Raises Stopped."""
    import torch

    from models.data.loading.batched_eval import evaluating, map_batches

    def answer(batch: Batch) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return batch.rows, batch.labels, network(batch.images).float()

    with evaluating(network):
        columns = zip(*map_batches(loader, run, answer), strict=True)
        rows, labels, logits = (torch.cat(column).cpu().numpy() for column in columns)
    return Logits(rows, labels, logits)


@dataclass(frozen=True)
class Slice(Proportion):
    """Accuracy of one class or group, with the interval of `effective`."""

    id: int
    name: str
    n_subjects: int | None
    design_effect: float

    @property
    def independent(self) -> int:
        """Subjects where there are any, else samples."""
        return self.n if self.n_subjects is None else self.n_subjects

    @property
    def effective(self) -> tuple[float, float]:
        """Correct and all of as many independent samples as say as much."""
        return self.correct / self.design_effect, self.n / self.design_effect


@dataclass(frozen=True)
class Metrics(Proportion):
    """Accuracies in 0..1 over `n` samples.
    Classes and groups without a sample are left out.

    `accuracy` is the plain mean; `balanced_accuracy` the mean over classes; `worst_*` the lowest
    class or group; `train_weighted_accuracy` the mean over groups by their share of the training
    set, which papers on group robustness call the average. Without groups, their fields are None.
    `…_low`, `…_high`: 95 % intervals, Wilson's for the plain mean, `statistics.mean_share`'s for the
    other means, `statistics.least_share`'s for the lowest of several. `n_subjects` is the number of clusters
    that the samples come in, None without any: the intervals then take clusters, not samples, as independent.
    """

    n_subjects: int | None
    balanced_accuracy: float
    worst_class_accuracy: float
    worst_class: str
    worst_group_accuracy: float | None
    worst_group: str | None
    train_weighted_accuracy: float | None
    classes: tuple[Slice, ...]
    groups: tuple[Slice, ...]
    balanced_accuracy_low: float
    balanced_accuracy_high: float
    worst_class_accuracy_low: float
    worst_class_accuracy_high: float
    worst_group_accuracy_low: float | None
    worst_group_accuracy_high: float | None
    train_weighted_accuracy_low: float | None
    train_weighted_accuracy_high: float | None

    @property
    def chance(self) -> float:
        """The highest balanced accuracy that answers which ignore the images can be expected to have.

        It is the same whatever the shares of the classes. Plain accuracy would have to exceed the share of
        the largest class, which a model that is good at a rare class need not.
        """
        return 1 / len(self.classes)

    @property
    def above_chance(self) -> bool:
        """Whether the interval of the balanced accuracy lies above chance; true with a single class."""
        return len(self.classes) < 2 or self.balanced_accuracy_low > self.chance


@dataclass(frozen=True)
class Names:
    """Names of classes and groups; one without a name is called by its number."""

    classes: Sequence[str] = ()
    groups: Sequence[str] = ()


NO_NAMES = Names()


def metrics(
    labels: Labels,
    predictions: Labels,
    *,
    groups: Labels | None = None,
    train_group_weights: Mapping[int, float] | None = None,
    clusters: Labels | None = None,
    names: Names = NO_NAMES,
) -> Metrics:
    """Metrics of (N,) predictions.
    Raises ValueError if there is no sample.

    `groups` (N,) is −1 for samples without a group. `train_group_weights` are each group's count or share
    in the training set; the weight of a group without samples here is redistributed to the others.
    `clusters` (N,) is equal where two samples are not independent.
    """
    if len(labels) == 0 or len(labels) != len(predictions):
        raise ValueError("there must be a prediction for each label, and at least one")
    right = labels == predictions
    n, correct = len(right), int(right.sum())
    low, high = clustered_wilson(right, clusters)
    by_class = _slices(right, labels, clusters, names.classes)
    by_group = _slices(right, groups, clusters, names.groups) if groups is not None else ()
    worst_class, lowest = _lowest(by_class)
    worst_group, lowest_group = _lowest(by_group) if by_group else (None, None)
    balanced = _mean_interval(right, labels, by_class, clusters)
    mean, weighted = _train_weighted(right, groups, by_group, clusters, train_group_weights or {})
    return Metrics(
        n=n,
        n_subjects=count_clusters(clusters),
        correct=correct,
        accuracy=correct / n,
        low=low,
        high=high,
        balanced_accuracy=sum(s.accuracy for s in by_class) / len(by_class),
        worst_class_accuracy=worst_class.accuracy,
        worst_class=worst_class.name,
        worst_group_accuracy=worst_group.accuracy if worst_group else None,
        worst_group=worst_group.name if worst_group else None,
        train_weighted_accuracy=mean,
        classes=by_class,
        groups=by_group,
        balanced_accuracy_low=balanced.low,
        balanced_accuracy_high=balanced.high,
        worst_class_accuracy_low=lowest.low,
        worst_class_accuracy_high=lowest.high,
        worst_group_accuracy_low=lowest_group.low if lowest_group else None,
        worst_group_accuracy_high=lowest_group.high if lowest_group else None,
        train_weighted_accuracy_low=weighted.low if weighted else None,
        train_weighted_accuracy_high=weighted.high if weighted else None,
    )


def _lowest(slices: Sequence[Slice]) -> tuple[Slice, Interval]:
    """The slice of the lowest accuracy, and the interval of that accuracy."""
    return min(slices, key=lambda s: s.accuracy), least_share([s.effective for s in slices])


def _slices(right: Bools, slices: Labels, clusters: Labels | None, names: Sequence[str]) -> tuple[Slice, ...]:
    measured = []
    for key in np.unique(slices[slices >= 0]).tolist():
        inside = slices == key
        of = None if clusters is None else clusters[inside]
        n, correct = int(inside.sum()), int(right[inside].sum())
        name = names[key] if key < len(names) else str(key)
        effect = design_effect(right[inside], of)
        low, high = wilson(correct / effect, n / effect)
        measured.append(
            Slice(
                key,
                name,
                count_clusters(of),
                effect,
                n=n,
                correct=correct,
                accuracy=correct / n,
                low=low,
                high=high,
            )
        )
    return tuple(measured)


def _train_weighted(
    right: Bools,
    groups: Labels | None,
    measured: Sequence[Slice],
    clusters: Labels | None,
    train_group_weights: Mapping[int, float],
) -> tuple[float | None, Interval | None]:
    """The mean over the groups, weighted by these; None where no group that occurs has a weight."""
    weights = [train_group_weights.get(s.id, 0.0) for s in measured]
    if groups is None or not any(weights):
        return None, None
    mean = sum(s.accuracy * weight for s, weight in zip(measured, weights, strict=True)) / sum(weights)
    return mean, _mean_interval(right, groups, measured, clusters, weights)


def _mean_interval(
    right: Bools,
    slices: Labels,
    measured: Sequence[Slice],
    clusters: Labels | None,
    weights: Sequence[float] | None = None,
) -> Interval:
    """Of the mean over slices; of their clusters, some may lie in several."""
    known = slices >= 0
    effect = design_effect(
        right[known],
        None if clusters is None else clusters[known],
        strata=slices[known],
        weights=None if weights is None else np.asarray(weights, np.float64),
    )
    return mean_share([(s.correct, s.n) for s in measured], weights, effect=effect)
