"""A temperature for the probabilities that are shown. Nothing that is decided knows of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from models.selective.scores import Counts, Floats

_LARGEST = 20.0  # and its inverse the smallest
_ROUNDS = 30  # halvings of the range of log T: to 6e-9


def fit_temperature(logits: ArrayLike, labels: Counts) -> float:
    """The T at which softmax(logits / T) has the least log loss (Guo et al. 2017); 0.05 … 20.

    Logits (N, K), labels (N,); rows that are not finite are left out, and without a row T is 1. One
    more sample, of the mean loss over all labels, stands for what was not seen (after Platt 1999): a
    split without an error would otherwise ask for probability 1.
    """
    z: Floats = np.asarray(logits, np.float64)
    finite = np.isfinite(z).all(axis=1)
    z, right = z[finite], np.asarray(labels)[finite]
    if not len(z):
        return 1.0
    z = z - z.max(1, keepdims=True)
    own, plain = float(z[np.arange(len(z)), right].sum()), float(z.mean(1).mean())
    low, high = -math.log(_LARGEST), math.log(_LARGEST)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        mean = _expected(z, math.exp(-middle))
        # The loss is convex in 1/T, and this is its slope there.
        slope = float(mean.sum()) - own + float(mean.mean()) - plain
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """softmax(logits / T) of (N, K) logits, float64; NaN in the rows that are not finite."""
    z: Floats = np.array(logits, np.float64)
    finite = np.isfinite(z)
    if not finite.all():  # rare, and what follows is on the way of every answer
        z[~finite.all(axis=1)] = np.nan
    z -= z.max(1, keepdims=True)
    z /= temperature
    np.exp(z, out=z)
    z /= z.sum(1, keepdims=True)
    return z


def row_probabilities(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """`probabilities` of one input with few classes (K,), up to the last bit: numpy's calls would cost five
    times as much as what they compute."""
    if not all(map(math.isfinite, logits)):
        return [math.nan] * len(logits)
    top = max(logits)
    odds = [math.exp((logit - top) / temperature) for logit in logits]
    total = math.fsum(odds)
    return [odd / total for odd in odds]


def _expected(z: Floats, beta: float) -> Floats:
    """The mean logit (N,) under softmax(β z); the largest of each row is 0."""
    odds = np.exp(beta * z)
    return cast(Floats, (odds * z).sum(1) / odds.sum(1))
