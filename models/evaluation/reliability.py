"""How well predicted probabilities match the accuracy. numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.probabilities import log_softmax, of_label
from models.statistics import count_clusters, design_effect, student, wilson
from models.types import Bools, Floats, Labels


class ReliabilityBin(NamedTuple):
    """Samples whose top probability is in (`low`, `high`]: mean probability against accuracy.

    `accuracy_low`, `accuracy_high`: the 95 % Wilson interval of the accuracy.
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
    """Reliability on the `n` samples with finite logits; `non_finite` others were left out.

    `ece` and `mce` are the mean and the largest gap between confidence and accuracy over the bins.

    `ece_by_chance` is what a model whose probabilities are all true exceeds on 5 % of samples like this one.
    `overconfidence` is mean probability − accuracy. `nll` is in nats, `brier` over all classes (0..2).
    Empty bins are left out.
    `n_subjects` is the number of clusters that the samples come in, None without any.
    `…_low`, `…_high`: 95 % intervals, for `ece` by bootstrap within the bins, otherwise of the mean.
    """

    n: int
    n_subjects: int | None
    non_finite: int
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


_BINS = 15
_ECE_DRAWS = 2000


def calibration_error(
    logits: NDArray[np.float32],
    labels: Labels,
    *,
    clusters: Labels | None = None,
    generator: np.random.Generator | None = None,
) -> Calibration | None:
    """Reliability of softmax probabilities in 15 bins of equal width (Guo et al. 2017); logits (N, K).

    Returns None if no row is finite. `clusters` (N,) are equal where two samples are not independent.
    `generator` draws the interval of `ece`; its seed is 0 by default.
    """
    if len(labels) == 0:
        raise ValueError("there must be at least one sample")
    finite = np.isfinite(logits).all(1)
    if not finite.any():
        return None
    logits, labels = logits[finite], labels[finite]
    clusters = None if clusters is None else clusters[finite]
    log_probabilities = log_softmax(logits)
    probabilities = np.exp(log_probabilities)
    top, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(top * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    reliability, effects = _measured_bins(top, right, place, clusters)
    gaps = [abs(b.confidence - b.accuracy) for b in reliability]
    ece = sum(g * b.n for g, b in zip(gaps, reliability, strict=True)) / len(labels)
    low, high, by_chance = _ece_bounds(top, right, place, effects, generator or np.random.default_rng(0))
    losses, true = -of_label(log_probabilities, labels), of_label(probabilities, labels)
    squares = (1 - true) ** 2 + (probabilities**2).sum(1) - true**2
    over, nll, brier = (student(x, clusters=clusters) for x in (top - right, losses, squares))
    return Calibration(
        n=len(labels),
        n_subjects=count_clusters(clusters),
        non_finite=int((~finite).sum()),
        ece=ece,
        ece_low=min(low, ece),
        ece_high=max(high, ece),
        ece_by_chance=by_chance,
        mce=max(gaps),
        overconfidence=float((top - right).mean()),
        overconfidence_low=over.low,
        overconfidence_high=over.high,
        nll=float(losses.mean()),
        nll_low=max(0.0, nll.low),
        nll_high=nll.high,
        brier=float(squares.mean()),
        brier_low=max(0.0, brier.low),
        brier_high=min(2.0, brier.high),
        bins=tuple(reliability),
    )


def _measured_bins(
    top: Floats, right: Bools, place: Labels, clusters: Labels | None
) -> tuple[list[ReliabilityBin], Floats]:
    """The bins that have samples, by the bin of each at `place` (N,), and the design effect of every bin."""
    reliability, effects = [], np.ones(_BINS)
    for index in np.unique(place).tolist():
        inside = place == index
        n, correct = int(inside.sum()), int(right[inside].sum())
        mean, edges = float(top[inside].mean()), (index / _BINS, (index + 1) / _BINS)
        effect = design_effect(right[inside], None if clusters is None else clusters[inside])
        interval = wilson(correct / effect, n / effect)
        effects[index] = effect
        reliability.append(ReliabilityBin(*edges, n, correct, mean, correct / n, *interval))
    return reliability, effects


def _ece_bounds(
    top: Floats, right: Bools, place: Labels, effects: Floats, generator: np.random.Generator
) -> tuple[float, float, float]:
    """(low, high, by chance): bootstrap quantiles 2.5 %, 97.5 %; the 95 % one if all probabilities were true.

    A bin's sum of (probability − right) is drawn from a normal distribution with its mean and variance, which
    is larger by the design effect of the bin's accuracy, of `effects` (bins,).
    """
    size = int(place.max()) + 1
    counts = np.bincount(place, minlength=size)
    gap = top - right
    mean = np.bincount(place, gap, size)
    spread = (np.bincount(place, gap**2, size) - mean**2 / np.maximum(counts, 1)) * effects[:size]
    true = np.bincount(place, top * (1 - top), size) * effects[:size]
    normal = generator.standard_normal((_ECE_DRAWS, size))
    again = np.abs(mean + normal * np.sqrt(np.maximum(spread, 0))).sum(1) / len(top)
    chance = np.abs(normal * np.sqrt(true)).sum(1) / len(top)
    low, high = np.quantile(again, [0.025, 0.975]).tolist()
    return low, high, float(np.quantile(chance, 0.95))
