"""Which samples are misclassified by heads fitted without them, sharpened until the shortcut shows.

After XRM (Pezeshki et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.logistic import (
    Check,
    Standardised,
    balanced_weights,
    folds,
    held_out_logits,
    never,
)
from models.probabilities import log_softmax, of_label
from models.types import Bools, Floats, Labels

MIN_FLAGGED = 2  # clusters of a class: a single one could not be both fitted and held out


@dataclass(frozen=True)
class Mistakes:
    """`flags` (N,): whether a sample is a mistake.
    `doubt` (N,) in 0..1: one minus the probability that heads fitted without it give to its label; `other`
    (N,) is the most probable of the other classes. `penalty` is theirs, `losses` the held-out cross-entropy
    (nats) of each penalty. `history` counts the mistakes before and after each round.
    """

    flags: Bools
    doubt: Floats
    other: Labels
    penalty: float
    losses: dict[float, float]
    history: tuple[int, ...]


def find_mistakes(
    standardised: Standardised,
    labels: Labels,
    config: HeadConfig,
    *,
    clusters: Labels,
    rng: np.random.Generator,
    splits: int = 20,
    check: Check = never,
) -> Mistakes:
    """Judge each sample by heads fitted on random halves without it.

    1. Judges: for each of `splits` random splits into halves, a head fitted on one half predicts the other.
       Their penalty is the one with the lowest held-out cross-entropy.
    2. A sample is a mistake if the judges' mean logits give its label a probability below the threshold. Its
       spurious label is then the most probable other class. Every other sample keeps its own label.
    3. `rounds` times: heads with the same penalty are fitted to the spurious labels, balanced over class ×
       mistake, which makes them rely on the shortcut instead of the class. The mistakes are then the samples
       whose label they give a probability below one half.

    A class with mistakes in fewer than two clusters keeps its own labels in a round; without any other class,
    the rounds end. `clusters` (N,) come from `first_samples`: no head judges a cluster that it saw.
    """
    classes = int(labels.max()) + 1  # also for spurious labels, which may lack the last class

    def judge(targets: Labels, strata: Labels, *, penalty: float) -> Floats:
        """Held-out log-probabilities (N, K) of heads fitted to `targets`, balanced, on halves of `strata`."""
        halves = [folds(strata, count=2, rng=rng, clusters=clusters) for _ in range(splits)]
        held = np.concatenate([half[:, None] == np.arange(2) for half in halves], axis=1)
        columns = np.repeat(balanced_weights(labels, strata)[:, None], held.shape[1], 1)
        logits = held_out_logits(
            standardised, targets, columns, held=held, penalty=penalty, classes=classes, check=check
        )
        return log_softmax(logits)

    by_penalty = {p: judge(labels, labels, penalty=p) for p in config.judge_penalties}
    losses = {p: float(-of_label(held_out, labels).mean()) for p, held_out in by_penalty.items()}
    penalty = min(by_penalty, key=lambda p: losses[p])
    held_out, flags = by_penalty[penalty], _flags(by_penalty[penalty], labels, config.threshold)
    history = [int(flags.sum())]
    for _ in range(config.rounds):
        divisible = flags & (flagged_clusters(labels, flags, clusters) >= MIN_FLAGGED)[labels]
        if not divisible.any():
            break
        groups = labels * 2 + divisible
        spurious = np.where(divisible, _likeliest_other(held_out, labels), labels)
        held_out = judge(spurious, groups, penalty=penalty)
        flags = _flags(held_out, labels, 0.5)
        history.append(int(flags.sum()))
    doubt = 1 - np.exp(of_label(held_out, labels))
    return Mistakes(flags, doubt, _likeliest_other(held_out, labels), penalty, losses, tuple(history))


def _flags(log_probabilities: Floats, labels: Labels, threshold: float) -> Bools:
    return np.asarray(np.exp(of_label(log_probabilities, labels)) < threshold)


def _likeliest_other(log_probabilities: Floats, labels: Labels) -> Labels:
    """The most probable class (N,) other than the label."""
    others = log_probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return np.asarray(others.argmax(1), np.int64)


def flagged_clusters(labels: Labels, flags: Bools, clusters: Labels) -> Labels:
    """Number of clusters with a flagged sample per class, (K,); `clusters` (N,) come from `first_samples`."""
    flagged = np.unique(labels[flags] * len(labels) + clusters[flags])
    return np.bincount(flagged // len(labels), minlength=int(labels.max()) + 1)
