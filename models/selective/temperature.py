"""The temperature of a model's probabilities, by which they are as reliable as one number makes them."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from models.types import Counts, Floats

_LARGEST = 20.0  # its inverse is the smallest
_ROUNDS = 30  # halvings of the range of log T, down to 6e-9


def fit_temperature(logits: ArrayLike, labels: Counts) -> float:
    """The T at which softmax(logits / T) has the least log loss (Guo et al. 2017); 0.05 … 20.

    Logits (N, K), labels (N,); non-finite rows are left out, and without any row T is 1. One extra
    sample, with the mean loss over all labels, represents what was not seen (after Platt 1999):
    otherwise a split without an error would push probabilities to 1.
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
        # The loss is convex in 1/T, and this is its slope.
        slope = float(mean.sum()) - own + float(mean.mean()) - plain
        low, high = (middle, high) if slope > 0 else (low, middle)
    return math.exp((low + high) / 2)


def _expected(z: Floats, beta: float) -> Floats:
    """The mean logit (N,) under softmax(β z); the largest of each row is 0."""
    odds = np.exp(beta * z)
    return cast(Floats, (odds * z).sum(1) / odds.sum(1))
