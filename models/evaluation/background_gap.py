"""How much predictions depend on the background: the Background Challenge's gap (Xiao et al., ICLR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.evaluation.paired import paired_difference
from models.statistics import Interval, design_effect, wilson
from models.types import Labels

SAME, RANDOM = "mixed_same", "mixed_rand"
"""Variants that show each object on another image's background: of the same class, of any class."""


@dataclass(frozen=True)
class VariantPredictions:
    """One variant's images: whether each prediction is correct (N,), and each name within the variant.

    `clusters` (N,) are equal where two images are not independent, within a variant and in both.
    """

    right: NDArray[np.bool_]
    names: Sequence[str]
    clusters: Labels | None = None


@dataclass(frozen=True)
class BackgroundGap:
    """Accuracy on `mixed_same` minus accuracy on `mixed_rand`, with its 95 % interval.

    A gap of 0 means that the background decides nothing. If `paired`, both variants hold the same objects,
    by file name, and were compared one by one; otherwise the interval is Newcombe's for independent
    proportions (method 10, Statistics in Medicine 1998).
    """

    gap: float
    low: float
    high: float
    paired: bool
    n_same: int
    correct_same: int
    n_random: int
    correct_random: int


def background_gap(
    same: VariantPredictions, random: VariantPredictions, *, generator: np.random.Generator
) -> BackgroundGap:
    """Raises ValueError if either variant has no image. Only the paired interval uses `generator`."""
    n, m = len(same.right), len(random.right)
    if n == 0 or m == 0:
        raise ValueError(f"a background gap needs images of {SAME} and of {RANDOM}")
    k, j = int(same.right.sum()), int(random.right.sum())
    gap = k / n - j / m
    paired = len(set(same.names)) == n and sorted(same.names) == sorted(random.names)  # each name once
    if paired:
        by_name, other = (np.argsort(np.array(each.names)) for each in (same, random))
        clusters = None if same.clusters is None else same.clusters[by_name]
        first, second = same.right[by_name], random.right[other]
        difference = paired_difference(first, second, clusters=clusters, generator=generator)
        low, high = difference.low, difference.high
    else:
        effects = [design_effect(each.right, each.clusters) for each in (same, random)]
        low, high = _newcombe((k / effects[0], n / effects[0]), (j / effects[1], m / effects[1]))
    return BackgroundGap(gap, low, high, paired, n, k, m, j)


def _newcombe(first: tuple[float, float], second: tuple[float, float]) -> Interval:
    (k, n), (j, m) = first, second
    p, q = k / n, j / m
    a, b = wilson(k, n), wilson(j, m)
    return Interval(p - q - math.hypot(p - a.low, b.high - q), p - q + math.hypot(a.high - p, q - b.low))
