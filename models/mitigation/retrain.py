"""Retrain the last layer, balanced over groups (DFR; Kirichenko et al. 2023), on a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
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
    log_softmax,
    never,
    of_label,
)
from models.shortcuts.slices import ModelAccuracy
from models.types import Floats, Labels

_SHARPNESS = np.geomspace(0.02, 50, 60)  # inverse temperatures to try
_EXAMPLES = 8


class Candidate(NamedTuple):
    """A penalty, its held-out cross-entropy balanced over groups (nats), and the loss's standard error."""

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
    penalty within one standard error of the best is taken (Breiman et al. 1984, 3.4.3): an inferred
    minority is a few dozen samples, and if they cannot tell penalties apart, the simpler head is preferred.
    Samples with equal `clusters` (N,), of one subject or copies of one image, are held out together and count
    as one in that standard error.
    `check` is called at every step of a fit.
    """
    standardised = Standardised.of(features.values, device)
    clusters = first_samples(clusters, len(features.labels))
    held = _held(groups, config, seed, clusters)
    members = groups.memberships(features.labels)
    weights = group_weights(features.labels, members)
    scored = {
        p: _cross_fit(standardised, features, members, held=held, penalty=p, check=check)
        for p in config.penalties
    }
    candidates = tuple(
        Candidate(p, *_balanced_loss(logits, features.labels, weights, clusters))
        for p, logits in scored.items()
    )
    best = min(candidates, key=lambda c: c.loss)
    penalty = max(c.penalty for c in candidates if c.loss <= best.loss + best.error)
    place = standardised.values.device
    fitted = fit_heads(
        standardised.values,
        torch.from_numpy(features.labels).to(place),
        torch.from_numpy(weights.sum(1)[:, None]).to(place),
        penalty=penalty,
        classes=features.classes,
        check=check,
    )
    head = standardised.head(fitted[0])
    install_head(network, head)
    return RetrainedHead(head, penalty, candidates, np.asarray(scored[penalty].argmax(1), np.int64), groups)


def _held(groups: Groups, config: HeadConfig, seed: int, clusters: Labels) -> NDArray[np.bool_]:
    """Which samples are held out of which head, (N, folds · repeats); the same for every penalty."""
    rng = np.random.default_rng([seed, 2])
    numbers = [
        folds(groups.assigned, count=config.folds, rng=rng, clusters=clusters) for _ in range(config.repeats)
    ]
    return np.concatenate([fold[:, None] == np.arange(config.folds) for fold in numbers], axis=1)


def _cross_fit(
    standardised: Standardised,
    features: Features,
    members: Floats,
    *,
    held: NDArray[np.bool_],
    penalty: float,
    check: Check,
) -> NDArray[np.float32]:
    """Held-out logits (N, K), averaged over the repeats."""
    weights = np.stack([group_weights(features.labels, members, ~mine).sum(1) for mine in held.T], 1)
    return held_out_logits(
        standardised,
        features.labels,
        weights,
        held=held,
        penalty=penalty,
        classes=features.classes,
        check=check,
    )


def _balanced_loss(
    logits: NDArray[np.float32], labels: Labels, weights: Floats, clusters: Labels
) -> tuple[float, float]:
    """Cross-entropy under `weights` (N, groups) at the temperature that minimises it; its standard error.

    Without the temperature, strong penalties would lose merely because they shrink the logits. `clusters`
    (N,) come from `first_samples`: the standard error counts clusters.
    """
    parts = weights.sum(0)
    scores = []
    for factor in _SHARPNESS:
        losses = -of_label(log_softmax(logits * np.float32(factor)), labels)
        means = losses @ weights / parts
        of_samples = (weights * (losses[:, None] - means)).sum(1)  # each sample's influence on the loss
        influence = np.bincount(clusters, of_samples)
        scores.append((float(means @ parts) / parts.sum(), float(np.linalg.norm(influence)) / parts.sum()))
    return min(scores)


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
        mine = groups.assigned == number
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
