"""Accuracy as counts over counts: plain, balanced, per class and group; reliability of probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, least_share, mean_share, student, wilson

if TYPE_CHECKING:
    from torch import Tensor

    from models.backbones import Network
    from models.data.batches import Batch, Loader
    from models.run import Run

Labels = NDArray[np.int64]


class Logits(NamedTuple):
    """What a network says of N samples, in stored order, on the CPU."""

    rows: Labels  # (N,) row numbers of the store
    labels: Labels  # (N,)
    logits: NDArray[np.float32]  # (N, K)

    @property
    def predictions(self) -> Labels:
        return np.asarray(self.logits.argmax(1), np.int64)


def predict_logits(network: Network, loader: Loader, run: Run) -> Logits:
    """One fp32 forward pass over `loader`, in evaluation mode. Raises Stopped."""
    import torch

    from models.passes import answers, evaluating

    def answer(batch: Batch) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            return batch.rows, batch.labels, network(batch.images).float()

    with evaluating(network):
        columns = zip(*answers(loader, run, answer), strict=True)
        rows, labels, logits = (torch.cat(column).cpu().numpy() for column in columns)
    return Logits(rows, labels, logits)


@dataclass(frozen=True)
class Slice:
    """Accuracy of one class or group: `correct` of `n`, with its 95 % Wilson interval."""

    id: int
    name: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Metrics:
    """Shares in 0..1 over `n` samples. Classes and groups without a sample are left out.

    `accuracy` is the plain mean; `balanced_accuracy` the mean over classes; `worst_*` the lowest
    class or group; `train_weighted_accuracy` the mean over groups by their share of the training
    set, which papers on group robustness call the average. None where there are no groups.
    `…_low`, `…_high`: 95 % intervals, Wilson's for the plain mean, `statistics.mean_share`'s for the
    other means, `statistics.least_share`'s for the lowest of several.
    """

    n: int
    correct: int
    accuracy: float
    low: float
    high: float
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

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Names:
    """What classes and groups are called; their number where they have no name."""

    classes: Sequence[str] = ()
    groups: Sequence[str] = ()


def metrics(
    labels: Labels,
    predictions: Labels,
    *,
    groups: Labels | None = None,
    train_group_weights: Mapping[int, float] | None = None,
    names: Names | None = None,
) -> Metrics:
    """Judge (N,) predictions; ValueError without a sample.

    `groups` (N,) may hold −1, no group. `train_group_weights` are each group's samples or share in
    the training set; a group that no sample here belongs to leaves its weight to the others.
    """
    if len(labels) == 0 or len(labels) != len(predictions):
        raise ValueError("there must be a prediction for each label, and at least one")
    names = names or Names()
    right = labels == predictions
    n, correct = len(right), int(right.sum())
    low, high = wilson(correct, n)
    by_class = _slices(right, labels, names.classes)
    by_group = _slices(right, groups, names.groups) if groups is not None else ()
    worst_class = min(by_class, key=lambda s: s.accuracy)
    worst_group = min(by_group, key=lambda s: s.accuracy, default=None)
    weighted, weighted_interval = _weighted(by_group, train_group_weights or {})
    balanced, lowest = mean_share(_counts(by_class)), least_share(_counts(by_class))
    lowest_group = least_share(_counts(by_group)) if by_group else None
    return Metrics(
        n=n,
        correct=correct,
        accuracy=correct / n,
        low=low,
        high=high,
        balanced_accuracy=sum(s.accuracy for s in by_class) / len(by_class),
        worst_class_accuracy=worst_class.accuracy,
        worst_class=worst_class.name,
        worst_group_accuracy=worst_group.accuracy if worst_group else None,
        worst_group=worst_group.name if worst_group else None,
        train_weighted_accuracy=weighted,
        classes=by_class,
        groups=by_group,
        balanced_accuracy_low=balanced.low,
        balanced_accuracy_high=balanced.high,
        worst_class_accuracy_low=lowest.low,
        worst_class_accuracy_high=lowest.high,
        worst_group_accuracy_low=lowest_group.low if lowest_group else None,
        worst_group_accuracy_high=lowest_group.high if lowest_group else None,
        train_weighted_accuracy_low=weighted_interval.low if weighted_interval else None,
        train_weighted_accuracy_high=weighted_interval.high if weighted_interval else None,
    )


def _slices(right: NDArray[np.bool_], slices: Labels, names: Sequence[str]) -> tuple[Slice, ...]:
    found = []
    for key in np.unique(slices[slices >= 0]).tolist():
        inside = right[slices == key]
        n, correct = len(inside), int(inside.sum())
        name = names[key] if key < len(names) else str(key)
        found.append(Slice(key, name, n, correct, correct / n, *wilson(correct, n)))
    return tuple(found)


def _counts(slices: Sequence[Slice]) -> list[tuple[int, int]]:
    return [(s.correct, s.n) for s in slices]


def _weighted(
    groups: Sequence[Slice], weights: Mapping[int, float]
) -> tuple[float, Interval] | tuple[None, None]:
    """The mean over groups by their weights, and its interval; None where no weight is left."""
    each = [weights.get(s.id, 0) for s in groups]
    total = sum(each)
    if total == 0:
        return None, None
    mean = sum(s.accuracy * weight for s, weight in zip(groups, each, strict=True)) / total
    return mean, mean_share(_counts(groups), each)


class ReliabilityBin(NamedTuple):
    """Samples whose top probability is in (`low`, `high`]: mean probability against accuracy.

    `accuracy_low`, `accuracy_high`: its 95 % Wilson interval.
    """

    low: float
    high: float
    n: int
    correct: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


class Calibration(NamedTuple):
    """`ece` and `mce`: mean and largest gap between confidence and accuracy over the bins.

    A mean of absolute gaps is never 0 on a finite sample: `ece_by_chance` is what a model whose
    probabilities are all true exceeds in 5 % of samples like this one. `overconfidence` is mean
    probability − accuracy. `nll` in nats, `brier` over all classes (0..2). Empty bins are left out.
    `…_low`, `…_high`: 95 % intervals, for `ece` by bootstrap within the bins, else of the mean.
    """

    n: int
    ece: float
    ece_low: float
    ece_high: float
    ece_by_chance: float
    mce: float
    overconfidence: float
    overconfidence_low: float
    overconfidence_high: float
    nll: float
    nll_low: float
    nll_high: float
    brier: float
    brier_low: float
    brier_high: float
    bins: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self._asdict() | {"bins": [found._asdict() for found in self.bins]}


_ECE_DRAWS = 2000


def calibration_error(
    logits: NDArray[np.float32],
    labels: Labels,
    *,
    bins: int = 15,
    generator: np.random.Generator | None = None,
) -> Calibration:
    """Reliability of softmax probabilities in `bins` equal widths (Guo et al. 2017); logits (N, K).

    `generator` draws the interval of `ece`; by default one of seed 0.
    """
    if len(labels) == 0:
        raise ValueError("there must be at least one sample")
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    probabilities = np.exp(log_probabilities)
    top, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for index in np.unique(place).tolist():
        inside = place == index
        n, correct = int(inside.sum()), int(right[inside].sum())
        mean, edges = float(top[inside].mean()), (index / bins, (index + 1) / bins)
        found.append(ReliabilityBin(*edges, n, correct, mean, correct / n, *wilson(correct, n)))
    gaps = [abs(b.confidence - b.accuracy) for b in found]
    ece = sum(g * b.n for g, b in zip(gaps, found, strict=True)) / len(labels)
    low, high, by_chance = _ece_bounds(top, right, place, generator or np.random.default_rng(0))
    losses = -log_probabilities[np.arange(len(labels)), labels]
    of_label = probabilities[np.arange(len(labels)), labels]
    squares = (1 - of_label) ** 2 + (probabilities**2).sum(1) - of_label**2
    over = top - right
    return Calibration(
        n=len(labels),
        ece=ece,
        ece_low=min(low, ece),
        ece_high=max(high, ece),
        ece_by_chance=by_chance,
        mce=max(gaps),
        overconfidence=float(over.mean()),
        overconfidence_low=student(over).low,
        overconfidence_high=student(over).high,
        nll=float(losses.mean()),
        nll_low=max(0.0, student(losses).low),
        nll_high=student(losses).high,
        brier=float(squares.mean()),
        brier_low=max(0.0, student(squares).low),
        brier_high=min(2.0, student(squares).high),
        bins=tuple(found),
    )


def _ece_bounds(
    top: NDArray[np.float64], right: NDArray[np.bool_], place: Labels, generator: np.random.Generator
) -> tuple[float, float, float]:
    """(low, high, by chance): 2.5 %, 97.5 % of the bootstrap, 95 % if all probabilities were true.

    A bin's sum of (probability − right) is drawn from a normal distribution of its mean and variance.
    """
    size = int(place.max()) + 1
    counts = np.bincount(place, minlength=size)
    gap = top - right
    mean = np.bincount(place, gap, size)
    spread = np.bincount(place, gap**2, size) - mean**2 / np.maximum(counts, 1)
    true = np.bincount(place, top * (1 - top), size)
    normal = generator.standard_normal((_ECE_DRAWS, size))
    again = np.abs(mean + normal * np.sqrt(np.maximum(spread, 0))).sum(1) / len(top)
    chance = np.abs(normal * np.sqrt(true)).sum(1) / len(top)
    low, high = np.quantile(again, [0.025, 0.975]).tolist()
    return low, high, float(np.quantile(chance, 0.95))
