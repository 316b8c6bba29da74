"""Accuracy as counts over counts: plain, balanced, per class and group; reliability of probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.statistics import wilson

if TYPE_CHECKING:
    from models.backbones import Network
    from models.data.batches import Loader
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

    from models.passes import evaluating, watched

    rows, labels, logits = [], [], []
    with evaluating(network), torch.inference_mode():
        for batch in watched(loader, run):
            rows.append(batch.rows)
            labels.append(batch.labels)
            logits.append(network(batch.images).float())
    return Logits(torch.cat(rows).numpy(), torch.cat(labels).cpu().numpy(), torch.cat(logits).cpu().numpy())


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

    `accuracy` is the plain mean, with its 95 % Wilson interval; `balanced_accuracy` the mean over
    classes; `worst_*` the lowest class or group (its own interval is for one slice, not for the
    lowest of several); `train_weighted_accuracy` the mean over groups by their share of the training
    set, which papers on group robustness call the average. None where there are no groups.
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
        train_weighted_accuracy=_weighted(by_group, train_group_weights or {}),
        classes=by_class,
        groups=by_group,
    )


def _slices(right: NDArray[np.bool_], slices: Labels, names: Sequence[str]) -> tuple[Slice, ...]:
    found = []
    for key in np.unique(slices[slices >= 0]).tolist():
        inside = right[slices == key]
        n, correct = len(inside), int(inside.sum())
        name = names[key] if key < len(names) else str(key)
        found.append(Slice(key, name, n, correct, correct / n, *wilson(correct, n)))
    return tuple(found)


def _weighted(groups: Sequence[Slice], weights: Mapping[int, float]) -> float | None:
    total = sum(weights.get(s.id, 0) for s in groups)
    if total == 0:
        return None
    return sum(s.accuracy * weights.get(s.id, 0) for s in groups) / total


class ReliabilityBin(NamedTuple):
    """Samples whose top probability is in (`low`, `high`]: mean probability against accuracy."""

    low: float
    high: float
    n: int
    correct: int
    confidence: float
    accuracy: float


class Calibration(NamedTuple):
    """`ece` and `mce`: mean and largest gap between confidence and accuracy over the bins.

    `nll` in nats, `brier` over all classes (0..2). Empty bins are left out.
    """

    ece: float
    mce: float
    nll: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


def calibration_error(logits: NDArray[np.float32], labels: Labels, *, bins: int = 15) -> Calibration:
    """Reliability of softmax probabilities in `bins` equal widths (Guo et al. 2017); logits (N, K)."""
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
        mean = float(top[inside].mean())
        found.append(ReliabilityBin(index / bins, (index + 1) / bins, n, correct, mean, correct / n))
    gaps = [abs(b.confidence - b.accuracy) for b in found]
    one_hot = np.eye(logits.shape[1])[labels]
    return Calibration(
        ece=sum(g * b.n for g, b in zip(gaps, found, strict=True)) / len(labels),
        mce=max(gaps),
        nll=float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        brier=float(((probabilities - one_hot) ** 2).sum(1).mean()),
        bins=tuple(found),
    )
