"""Scores: the confidence in an answer, as log-probabilities in float64.

A score is at most 0, in nats: e^score is a probability. Unlike that probability, the score still tells 1 −
1e-20 from 1 − 1e-30.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masktune.contract.hyperparameters import ScoreName
from models.types import Counts, Floats


class ScoreNeedsErm(ValueError):
    """This score compares with ERM, and no ERM logits were given."""


class Scored(NamedTuple):
    """The label that would be answered (N,) int64, its score (N,) float64, NaN if unusable, and the
    log-probabilities (N, K) of all classes at the temperature, whatever the score."""

    labels: Counts
    scores: Floats
    log_probabilities: Floats


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """log softmax(logits / T) of (N, K) logits, float64, exact near probability 1; NaN in non-finite rows."""
    z: Floats = np.array(logits, np.float64)
    finite = np.isfinite(z)
    if not finite.all():  # rare, and this function runs for every response
        z[~finite.all(axis=1)] = np.nan
    rows, top = np.arange(len(z)), z.argmax(1)
    below = (z - z[rows, top][:, None]) / temperature
    others = np.exp(below)
    others[rows, top] = 0.0  # log1p of the others keeps what log(1 + others) would round away
    return np.asarray(below - np.log1p(others.sum(1, keepdims=True)))


def log_probabilities(logits: ArrayLike, labels: Counts) -> Floats:
    """`log_softmax` at `labels` (N,)."""
    return np.asarray(log_softmax(logits)[np.arange(len(labels)), labels])


def score(
    name: ScoreName, own: ArrayLike, erm: ArrayLike | None = None, *, temperature: float = 1.0
) -> Scored:
    """Score (N, K) logits.
    The label is always that of the model itself, whose logits are `own`.

    `max_softmax`: its log-probability at its `temperature`. As in the paper, the others have none: `product`
    adds ERM's for the same label (a product, as a sum of logs); `minimum` is the smaller of the two. Raises
    ScoreNeedsErm.
    """
    labels = np.asarray(own).argmax(1).astype(np.int64)
    logs = log_softmax(own, temperature)
    if name == "max_softmax":
        return Scored(labels, logs[np.arange(len(labels)), labels], logs)
    if erm is None:
        raise ScoreNeedsErm(f"the score {name!r} needs the logits of ERM")
    pair_score = _PAIR_SCORES[name]
    return Scored(labels, pair_score(log_probabilities(own, labels), log_probabilities(erm, labels)), logs)


_PAIR_SCORES: dict[ScoreName, Callable[[Floats, Floats], Floats]] = {
    "product": np.add,
    "minimum": np.minimum,
}
SCORES: tuple[ScoreName, ...] = ("max_softmax", *_PAIR_SCORES)


def decide(scores: ArrayLike, threshold: Floats | float | None) -> NDArray[np.bool_]:
    """True where an input is answered.
    The threshold, one for all or one for each, None answers nothing, −inf every finite score."""
    values = np.asarray(scores, np.float64)
    if threshold is None:
        return np.zeros(values.shape, bool)
    return np.isfinite(values) & (values >= threshold)
