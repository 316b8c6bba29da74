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
    """The label that would be answered (N,) int64, and its score (N,) float64, NaN if unusable."""

    labels: Counts
    scores: Floats


def log_probabilities(logits: ArrayLike, labels: Counts) -> Floats:
    """log softmax of (N, K) logits at `labels` (N,), exact near probability 1; NaN for non-finite logits."""
    z: Floats = np.asarray(logits, np.float64)
    finite = np.asarray(np.isfinite(z).all(axis=1), bool)
    z = np.where(finite[:, None], z, 0.0)
    rows, top = np.arange(len(z)), z.argmax(1)
    below = z - z[rows, top][:, None]
    others = np.exp(below)
    others[rows, top] = 0.0  # log1p of the others keeps what log(1 + others) would round away
    return np.where(finite, below[rows, labels] - np.log1p(others.sum(1)), np.nan)


class ScoreInputs(NamedTuple):
    """The inputs of all scores: the label of each input (N,), and its log-probability (N,) under the model
    itself and under ERM (None without its logits)."""

    labels: Counts
    own: Floats
    erm: Floats | None

    def score(self, name: ScoreName) -> Scored:
        """Score the judged inputs; see the function `score`."""
        if name == "max_softmax":
            return Scored(self.labels, self.own)
        if self.erm is None:
            raise ScoreNeedsErm(f"the score {name!r} needs the logits of ERM")
        return Scored(self.labels, _PAIR_SCORES[name](self.own, self.erm))

    def rows(self, first: int, last: int) -> ScoreInputs:
        """The rows from `first` up to, but not including, `last`."""
        erm = None if self.erm is None else self.erm[first:last]
        return ScoreInputs(self.labels[first:last], self.own[first:last], erm)


def score_inputs(masktune: ArrayLike, erm: ArrayLike | None = None) -> ScoreInputs:
    """Compute what every score of (N, K) logits needs. The label is always the mask-tuned model's."""
    labels = np.asarray(masktune).argmax(1).astype(np.int64)
    return ScoreInputs(
        labels,
        log_probabilities(masktune, labels),
        None if erm is None else log_probabilities(erm, labels),
    )


def score(name: ScoreName, masktune: ArrayLike, erm: ArrayLike | None = None) -> Scored:
    """Score (N, K) logits. The label is always the mask-tuned model's.

    `max_softmax`: that model's log-probability. `product`: plus ERM's for the same label (the paper's
    product, as a sum of logs). `minimum`: the smaller of the two. Raises ScoreNeedsErm.
    """
    return score_inputs(masktune, erm if name != "max_softmax" else None).score(name)


_PAIR_SCORES: dict[ScoreName, Callable[[Floats, Floats], Floats]] = {
    "product": np.add,
    "minimum": np.minimum,
}
SCORES: tuple[ScoreName, ...] = ("max_softmax", *_PAIR_SCORES)


def decide(scores: ArrayLike, threshold: float | None) -> NDArray[np.bool_]:
    """True where an input is answered. The threshold None answers nothing, −inf every finite score."""
    values = np.asarray(scores, np.float64)
    if threshold is None:
        return np.zeros(values.shape, bool)
    return np.isfinite(values) & (values >= threshold)
