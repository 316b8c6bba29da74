"""Retrain the last layer, balanced over groups (DFR; Kirichenko et al. 2023), on a frozen backbone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.network import Network
from models.mitigation.features import Features, Head, install_head
from models.mitigation.groups import Groups
from models.mitigation.logistic import (
    Check,
    Standardised,
    first_samples,
    fit_heads,
    folds,
    group_weights,
    held_out_logits,
    never,
)
from models.probabilities import log_softmax, of_label
from models.statistics import ModelAccuracy
from models.types import Floats, Labels

_SHARPNESS = np.geomspace(0.02, 50, 60)  # inverse temperatures to try
_EXAMPLES = 8
_ERRORS_OF_DIVIDED, _MOST_OF_DIVIDED = 2.0, 10.0


class Candidate(NamedTuple):
    """A penalty, its held-out cross-entropy balanced over groups (nats), and the standard error of how far
    that is above the lowest, on the same samples."""

    penalty: float
    loss: float
    error: float


@dataclass(frozen=True)
class RetrainedHead:
    """`held_out` (N,) are predictions for training samples, by heads of this penalty fitted without them."""

    head: Head
    penalty: float
    candidates: tuple[Candidate, ...]
    held_out: Labels
    groups: Groups

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": self.groups.source,
            "inferred": self.groups.inferred,
            "counts": self.groups.counts,
            "details": dict(self.groups.details),
            "penalty": self.penalty,
            "candidates": [candidate._asdict() for candidate in self.candidates],
        }


def retrain_head(
    network: Network,
    features: Features,
    groups: Groups,
    config: HeadConfig,
    *,
    seed: int,
    clusters: Labels | None = None,
    device: torch.device | None = None,
    check: Check = never,
) -> RetrainedHead:
    """Fit a multinomial logistic head balanced over `groups` and put it in `network`; the rest is unchanged.

    A sample whose group is inferred is weighted in each group by its membership there.
    Choosing the penalty needs no further group labels: each candidate is cross-fitted on `features` alone
    and scored by its held-out cross-entropy, balanced like the head, at its best temperature. The largest
    penalty within one standard error of the best is taken (Breiman et al. 1984, 3.4.3), within two if the
    groups divide a class, but then of at most 10: the held-out loss of a small minority rewards remembering.
    The error is that of the difference of two losses on the same samples, which rise and fall together.
    Samples with equal `clusters` (N,), of one subject or copies of one image, are held out together and count
    as one in that standard error.
    `check` is called at every step of a fit.
    """
    standardised = Standardised.of(features.values, device)
    scored = cross_fits(standardised, features, groups, config, seed=seed, clusters=clusters, check=check)
    best = min(scored.values(), key=lambda fit: fit.loss)
    candidates = tuple(
        Candidate(penalty, fit.loss, float(np.linalg.norm(fit.influence - best.influence)))
        for penalty, fit in scored.items()
    )
    penalty = choose_penalty(candidates, is_divided=len(groups.names) > features.classes)
    head = fit_balanced(standardised, features, groups, penalty=penalty, check=check)
    install_head(network, head)
    held_out = np.asarray(scored[penalty].logits.argmax(1), np.int64)
    return RetrainedHead(head, penalty, candidates, held_out, groups)


def choose_penalty(candidates: Sequence[Candidate], *, is_divided: bool) -> float:
    """The penalty of a head that is balanced over groups; `is_divided`: they divide a class.

    One error and two are each better on some photographs (`research.rivals.penalty`).
    Unbounded, a minority of some twenty images allowed 100, at a cost of 25 points.
    """
    errors, most = 1.0, math.inf
    if is_divided:
        errors, most = _ERRORS_OF_DIVIDED, _MOST_OF_DIVIDED
    least_loss = min(one.loss for one in candidates)
    within = [one for one in candidates if one.loss <= least_loss + errors * one.error]
    penalty = max(one.penalty for one in within)
    if penalty <= most:
        return penalty
    allowed = [one.penalty for one in candidates if one.penalty <= most]
    return max(allowed) if allowed else min(one.penalty for one in candidates)


def fit_balanced(
    standardised: Standardised,
    features: Features,
    groups: Groups,
    *,
    penalty: float,
    check: Check = never,
) -> Head:
    """The head of that penalty, fitted to all samples."""
    weights = group_weights(features.labels, groups.memberships(features.labels)).sum(1)
    device = standardised.values.device
    fitted = fit_heads(
        standardised.values,
        torch.from_numpy(features.labels).to(device),
        torch.from_numpy(weights[:, None]).to(device),
        penalty=penalty,
        classes=features.classes,
        check=check,
    )
    return standardised.head(fitted[0])


class CrossFit(NamedTuple):
    """Logits (N, K) by heads fitted without the sample, their cross-entropy `loss` (nats) at its best
    temperature, of which `sharpness` is the inverse, and how much each cluster moves that loss, (N,).

    The length of `influence` is the loss's standard error; that of two influences' difference is the standard
    error of the two losses' difference.
    """

    logits: NDArray[np.float32]
    loss: float
    influence: Floats
    sharpness: float


def cross_fits(
    standardised: Standardised,
    features: Features,
    groups: Groups,
    config: HeadConfig,
    *,
    seed: int,
    clusters: Labels | None = None,
    check: Check = never,
) -> dict[float, CrossFit]:
    """Each penalty of `config` with its held-out logits and their loss, balanced over `groups`."""
    clusters = first_samples(clusters, len(features.labels))
    held = _held(groups, config, seed, clusters)
    members = groups.memberships(features.labels)
    weights = group_weights(features.labels, members)
    columns = np.stack([group_weights(features.labels, members, ~mine).sum(1) for mine in held.T], 1)
    fits = {}
    for penalty in config.penalties:
        logits = held_out_logits(
            standardised,
            features.labels,
            columns,
            held=held,
            penalty=penalty,
            classes=features.classes,
            check=check,
        )
        fits[penalty] = CrossFit(logits, *_balanced_loss(logits, features.labels, weights, clusters))
    return fits


def _held(groups: Groups, config: HeadConfig, seed: int, clusters: Labels) -> NDArray[np.bool_]:
    """Which samples are held out of which head, (N, folds · repeats); the same for every penalty."""
    rng = np.random.default_rng([seed, 2])
    numbers = [
        folds(groups.assigned, count=config.folds, rng=rng, clusters=clusters) for _ in range(config.repeats)
    ]
    return np.concatenate([fold[:, None] == np.arange(config.folds) for fold in numbers], axis=1)


def _balanced_loss(
    logits: NDArray[np.float32], labels: Labels, weights: Floats, clusters: Labels
) -> tuple[float, Floats, float]:
    """Cross-entropy under `weights` (N, groups) at the temperature that minimises it; its influence (N,); the
    inverse of the temperature.

    Without the temperature, strong penalties would lose merely because they shrink the logits. `clusters`
    (N,) come from `first_samples`: the influence is the sum over a cluster, at its first sample.
    """
    parts = weights.sum(0)
    scores = []
    for factor in _SHARPNESS:
        losses = -of_label(log_softmax(logits * np.float32(factor)), labels)
        means = losses @ weights / parts
        of_samples = (weights * (losses[:, None] - means)).sum(1) / parts.sum()
        influence = np.bincount(clusters, of_samples, minlength=len(labels))
        loss = float(means @ parts) / float(parts.sum())
        scores.append((loss, np.asarray(influence, np.float64), float(factor)))
    return min(scores, key=lambda score: score[0])


@dataclass(frozen=True)
class GroupReport:
    """A group of `n` samples: `examples` are row numbers, the most probable members first.

    If `inferred`, the figures describe a guess, not a true group: read that field first.
    """

    name: str
    inferred: bool
    n: int
    share: float
    examples: tuple[int, ...]
    accuracies: tuple[ModelAccuracy, ...]


def describe_groups(
    groups: Groups,
    *,
    rows: Labels,
    labels: Labels,
    predictions: Mapping[str, Labels],
    clusters: Labels | None = None,
) -> tuple[GroupReport, ...]:
    """Describe each group by examples and by the accuracy of each named model; all arrays are (N,).

    Equal `clusters` are not independent; None: all are. These are training samples, so pass held-out
    predictions where there are any (`RetrainedHead.held_out`).
    """
    members = groups.memberships(labels)
    reports = []
    for number, name in enumerate(groups.names):
        mine = (groups.assigned == number) & groups.counted
        n = int(mine.sum())
        together = None if clusters is None else clusters[mine]
        accuracies = tuple(
            ModelAccuracy.of(model, np.asarray(predicted[mine] == labels[mine]), together)
            for model, predicted in predictions.items()
        )
        surest = np.argsort(-members[:, number] * mine, kind="stable")[: min(_EXAMPLES, n)]
        examples = tuple(rows[surest].tolist())
        reports.append(GroupReport(name, groups.inferred, n, n / len(mine), examples, accuracies))
    return tuple(reports)
