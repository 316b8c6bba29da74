"""Where models look: the mean map per class, the share of saliency that moved, images picked by rule.

Maps are (N, h, w) ≥ 0, as stored in a mask set. A map of zeros, or one that is not finite, says nothing
about where its model looks: it is left out and counted. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from models.statistics import Interval, student
from models.types import Bools, Floats, Labels, Maps


def shares(maps: Maps) -> Floats:
    """Each map (N, h, w) divided by its sum, float64; NaN if the sum is 0 or not finite."""
    mass = maps.astype(np.float64)
    total = mass.sum((1, 2), keepdims=True)
    usable = np.isfinite(total) & (total > 0)
    return np.asarray(np.divide(mass, total, out=np.full_like(mass, np.nan), where=usable))


@dataclass(frozen=True)
class MeanMap:
    """Mean of one class's `n` maps, each as `shares`, so it sums to 1.
    `undefined` maps were left out.

    `map` and `error` (the standard error at each position) are lists of rows; both are None without a
    map, and `error` also with a single one.
    """

    id: int
    name: str
    n: int
    undefined: int
    map: list[list[float]] | None
    error: list[list[float]] | None


def mean_maps(maps: Maps, labels: Labels, *, classes: Sequence[str]) -> tuple[MeanMap, ...]:
    """One mean map for each of `classes`; `labels` (N,) are the samples' classes."""
    mass = shares(maps)
    defined = ~np.isnan(mass[:, 0, 0])
    means = []
    for code, name in enumerate(classes):
        mine = mass[(labels == code) & defined]
        n, absent = len(mine), int(((labels == code) & ~defined).sum())
        mean = mine.mean(0).tolist() if n else None
        error = (mine.std(0, ddof=1) / n**0.5).tolist() if n > 1 else None
        means.append(MeanMap(code, name, n, absent, mean, error))
    return tuple(means)


def saliency_shift(before: Maps, after: Maps) -> Floats:
    """The share of saliency that moved between two models, for each of N images, 0..1.

    It is the total variation distance of the two maps as `shares`, NaN if either is. Raises ValueError
    if the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"maps of {before.shape} and {after.shape} are not of the same images and size")
    carried = np.abs(shares(before) - shares(after)).sum((1, 2)) / 2
    return np.asarray(np.minimum(carried, 1.0))  # rounding may exceed it


@dataclass(frozen=True)
class SaliencyShift:
    """Mean over `n` images, with Student's 95 % interval, and quartiles; None without an image."""

    name: str
    n: int
    undefined: int
    mean: float | None
    low: float | None
    high: float | None
    quartiles: tuple[float, float, float] | None


@dataclass(frozen=True)
class SaliencyShifts:
    """The share of saliency that moved, over all images and in each class."""

    all: SaliencyShift
    classes: tuple[SaliencyShift, ...]


def saliency_shifts(
    before: Maps, after: Maps, labels: Labels, *, classes: Sequence[str], clusters: Labels | None = None
) -> SaliencyShifts:
    """Summarise `saliency_shift`, overall and for each class.

    `labels` (N,) are the samples' classes, `clusters` (N,) equal where two samples are not independent.
    """
    distances = saliency_shift(before, after)
    defined = ~np.isnan(distances)

    def summary(name: str, inside: Bools) -> SaliencyShift:
        known = inside & defined
        of = None if clusters is None else clusters[known]
        return _summary(name, distances[known], of, undefined=int((inside & ~defined).sum()))

    each = tuple(summary(name, labels == code) for code, name in enumerate(classes))
    return SaliencyShifts(summary("all", np.ones(len(labels), bool)), each)


def _summary(name: str, known: Floats, clusters: Labels | None, *, undefined: int) -> SaliencyShift:
    if len(known) == 0:
        return SaliencyShift(name, 0, undefined, None, None, None, None)
    first, median, third = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    low, high = mean_interval(known, clusters=clusters)
    return SaliencyShift(name, len(known), undefined, float(known.mean()), low, high, (first, median, third))


def mean_interval(values: Floats, *, clusters: Labels | None = None, confidence: float = 0.95) -> Interval:
    """Student's interval for the mean of shares, clipped to 0..1; (0, 1) for fewer than two values."""
    if len(values) < 2:
        return Interval(0.0, 1.0)
    low, high = student(values, clusters=clusters, confidence=confidence)
    return Interval(max(0.0, low), min(1.0, high))


class PairedMaps(NamedTuple):
    """The same N images under two models. `masked` is the share of pixels under the first one's mask."""

    rows: Labels
    masked: Floats
    shift: Floats  # NaN where one model has no map
    before: Labels  # predictions
    after: Labels


Rule = Literal["most_masked", "most_changed", "disagreeing"]
RULES: tuple[Rule, ...] = get_args(Rule)

RULE_SENTENCES: Mapping[Rule, str] = {
    "most_masked": "the images of which the mask of the original model covers the most",
    "most_changed": "the images whose saliency moved most between the two models",
    "disagreeing": "the images on which the two models disagree, largest move of saliency first",
}


def select(rule: Rule, pair: PairedMaps) -> list[int]:
    """Rows of the images that qualify by a rule of `RULE_SENTENCES`, first the first; ties by row number.

    The choice is made by rule, never by hand, before anybody looks.
    """
    values = _VALUES[rule](pair)
    order = np.lexsort((pair.rows, -values))
    return list(pair.rows[order[~np.isnan(values[order])]].tolist())


_VALUES: Mapping[Rule, Callable[[PairedMaps], Floats]] = {
    "most_masked": lambda pair: np.where(pair.masked > 0, pair.masked, np.nan),
    "most_changed": lambda pair: np.where(pair.shift > 0, pair.shift, np.nan),
    # A disagreement without a map still counts, but comes last.
    "disagreeing": lambda pair: np.where(
        pair.before != pair.after, np.nan_to_num(pair.shift, nan=0.0), np.nan
    ),
}
