"""Where models look: the mean map per class, the share of saliency that moved, images picked by rule.

Maps are (N, h, w) ≥ 0, as stored in a mask set. A map of zeros, or one that is not finite, says nothing
about where its model looks: it is left out and counted. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from models.statistics import Interval, student

Labels = NDArray[np.int64]
Maps = NDArray[np.float32]
Floats = NDArray[np.float64]


def shares(maps: Maps) -> Floats:
    """Each map (N, h, w) divided by its sum, float64; NaN if the sum is 0 or not finite."""
    mass = maps.astype(np.float64)
    total = mass.sum((1, 2), keepdims=True)
    usable = np.isfinite(total) & (total > 0)
    divided: Floats = np.divide(mass, total, out=np.full_like(mass, np.nan), where=usable)
    return divided


@dataclass(frozen=True)
class MeanMap:
    """Mean of one class's `n` maps, each as `shares`, so it sums to 1. `undefined` maps were left out.

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


def moved(before: Maps, after: Maps) -> Floats:
    """The share of saliency that moved between two models, for each of N images, 0..1.

    It is the total variation distance of the two maps as `shares`, NaN if either is. Raises ValueError
    if the shapes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"maps of {before.shape} and {after.shape} are not of the same images and size")
    carried = np.abs(shares(before) - shares(after)).sum((1, 2)) / 2
    return np.asarray(np.minimum(carried, 1.0))  # rounding may exceed it


@dataclass(frozen=True)
class MovedShare:
    """Mean over `n` images, with Student's 95 % interval, and quartiles; None without an image."""

    name: str
    n: int
    undefined: int
    mean: float | None
    low: float | None
    high: float | None
    quartiles: tuple[float, float, float] | None


@dataclass(frozen=True)
class Movement:
    """The share of saliency that moved, over all images and in each class."""

    all: MovedShare
    classes: tuple[MovedShare, ...]


def movement(before: Maps, after: Maps, labels: Labels, *, classes: Sequence[str]) -> Movement:
    """Summarise `moved`, overall and for each class; `labels` (N,) are the samples' classes."""
    distances = moved(before, after)
    each = tuple(_moved_share(name, distances[labels == code]) for code, name in enumerate(classes))
    return Movement(_moved_share("all", distances), each)


def _moved_share(name: str, distances: Floats) -> MovedShare:
    known = distances[~np.isnan(distances)]
    undefined = len(distances) - len(known)
    if len(known) == 0:
        return MovedShare(name, 0, undefined, None, None, None, None)
    first, median, third = np.quantile(known, [0.25, 0.5, 0.75]).tolist()
    low, high = mean_interval(known)
    return MovedShare(name, len(known), undefined, float(known.mean()), low, high, (first, median, third))


def mean_interval(values: Floats, *, confidence: float = 0.95) -> Interval:
    """Student's interval for the mean of shares, clipped to 0..1; (0, 1) for fewer than two values."""
    if len(values) < 2:
        return Interval(0.0, 1.0)
    low, high = student(values, confidence=confidence)
    return Interval(max(0.0, low), min(1.0, high))


class Gaze(NamedTuple):
    """The same N images under two models. `masked` is the share of pixels under the first one's mask."""

    rows: Labels
    masked: Floats
    moved: Floats  # NaN where one model has no map
    before: Labels  # predictions
    after: Labels


Rule = Literal["most_masked", "most_changed", "disagreeing"]
RULES: tuple[Rule, ...] = get_args(Rule)

RULE_WORDS: Mapping[Rule, str] = {
    "most_masked": "the images of which the mask of the original model covers the most",
    "most_changed": "the images whose saliency moved most between the two models",
    "disagreeing": "the images on which the two models disagree, largest move of saliency first",
}


class Picked(NamedTuple):
    """An image of the gallery: its row and the value by which it was picked, never NaN."""

    row: int
    value: float


def pick(rule: Rule, gaze: Gaze, *, count: int = 8) -> tuple[Picked, ...]:
    """The first `count` images by a rule of `RULE_WORDS`, ties by row number; fewer if fewer qualify.

    The choice is made by rule, never by hand, before anybody looks.
    """
    values = _VALUES[rule](gaze)
    order = np.lexsort((gaze.rows, -values))
    chosen = order[~np.isnan(values[order])][:count]
    return tuple(map(Picked, gaze.rows[chosen].tolist(), values[chosen].tolist()))


def _masked(gaze: Gaze) -> Floats:
    return np.where(gaze.masked > 0, gaze.masked, np.nan)


def _changed(gaze: Gaze) -> Floats:
    return np.where(gaze.moved > 0, gaze.moved, np.nan)


def _disagreeing(gaze: Gaze) -> Floats:
    """A disagreement without a map still counts, but comes last."""
    return np.where(gaze.before != gaze.after, np.nan_to_num(gaze.moved, nan=0.0), np.nan)


_VALUES: Mapping[Rule, Callable[[Gaze], Floats]] = {
    "most_masked": _masked,
    "most_changed": _changed,
    "disagreeing": _disagreeing,
}
