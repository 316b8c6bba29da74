"""How much an answer depends on the background: the Background Challenge's gap (Xiao et al., ICLR 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.paired import paired_difference
from models.statistics import Interval, wilson

SAME, RANDOM = "mixed_same", "mixed_rand"
"""Variants whose objects stand on the background of another image: of their own class, of any class."""


@dataclass(frozen=True)
class Answered:
    """One variant's images: whether each (N,) is answered rightly, and its name within the variant."""

    right: NDArray[np.bool_]
    names: Sequence[str]


@dataclass(frozen=True)
class BackgroundGap:
    """Accuracy on `mixed_same` − on `mixed_rand`, with its 95 % interval. 0: the background decides nothing.

    `paired`: both hold the same objects, by the names of their files, and were compared one by one; else
    the interval is Newcombe's for independent shares (method 10, Statistics in Medicine 1998).
    """

    gap: float
    low: float
    high: float
    paired: bool
    n_same: int
    correct_same: int
    n_random: int
    correct_random: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def background_gap(same: Answered, random: Answered, *, generator: np.random.Generator) -> BackgroundGap:
    """ValueError where either has no image. `generator` serves the paired interval alone."""
    n, m = len(same.right), len(random.right)
    if n == 0 or m == 0:
        raise ValueError(f"a background gap needs images of {SAME} and of {RANDOM}")
    k, j = int(same.right.sum()), int(random.right.sum())
    gap, paired = k / n - j / m, _paired(same.names, random.names)
    if paired:
        first, second = (each.right[np.argsort(np.array(each.names))] for each in (same, random))
        found = paired_difference(first, second, generator=generator)
        low, high = found.low, found.high
    else:
        low, high = _newcombe((k, n), (j, m))
    return BackgroundGap(gap, low, high, paired, n, k, m, j)


def _paired(first: Sequence[str], second: Sequence[str]) -> bool:
    """The same names, each of them once."""
    return len(set(first)) == len(first) and sorted(first) == sorted(second)


def _newcombe(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    (k, n), (j, m) = first, second
    p, q = k / n, j / m
    a, b = wilson(k, n), wilson(j, m)
    return Interval(p - q - math.hypot(p - a.low, b.high - q), p - q + math.hypot(a.high - p, q - b.low))
