"""The last layer retrained balanced over groups (DFR; Kirichenko et al. 2023); the backbone stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.config import HeadConfig
from models.groups import Groups
from models.heads import (
    Check,
    Features,
    Head,
    Labels,
    Standardised,
    balanced_weights,
    fit_heads,
    folds,
    held_out_logits,
    install_head,
    log_softmax,
    never,
    of_label,
)
from models.slices import ModelAccuracy
from models.statistics import wilson

if TYPE_CHECKING:
    from models.backbones import Network

_TEMPERATURES = np.geomspace(0.02, 50, 60)
_EXAMPLES = 8


class Candidate(NamedTuple):
    """A penalty, its held-out cross-entropy balanced over groups (nats), and that one's standard error."""

    penalty: float
    loss: float
    error: float


@dataclass(frozen=True)
class RetrainedHead:
    """`held_out` (N,) are predictions of training samples by heads of this penalty that did not see them."""

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
    device: torch.device | None = None,
    check: Check = never,
) -> RetrainedHead:
    """A multinomial logistic head balanced over `groups`, put into `network`, which is otherwise unchanged.

    Its penalty is chosen without group labels: each candidate is cross-fitted on `features` alone,
    and scored by its held-out cross-entropy, the mean of the groups' means, after one temperature
    (else strong penalties, which only make small logits, would lose). Of those within one standard
    error of the best the largest is taken: an inferred minority is a few dozen samples, and what
    they cannot tell apart is better decided for the simpler head (Breiman et al. 1984, 3.4.3).
    `check` is called at every step of a fit.
    """
    standardised = Standardised.of(features.values, device)
    held = _held(groups, config, seed)
    scored = {
        p: _cross_fit(standardised, features, groups, held=held, penalty=p, check=check)
        for p in config.penalties
    }
    candidates = tuple(
        Candidate(p, *_balanced_loss(logits, features.labels, groups.assigned))
        for p, logits in scored.items()
    )
    best = min(candidates, key=lambda c: c.loss)
    penalty = max(c.penalty for c in candidates if c.loss <= best.loss + best.error)
    place = standardised.values.device
    weights = fit_heads(
        standardised.values,
        torch.from_numpy(features.labels).to(place),
        torch.from_numpy(balanced_weights(features.labels, groups.assigned)[:, None]).to(place),
        penalty=penalty,
        classes=features.classes,
        check=check,
    )
    head = standardised.head(weights[0])
    install_head(network, head)
    return RetrainedHead(head, penalty, candidates, np.asarray(scored[penalty].argmax(1), np.int64), groups)


def _held(groups: Groups, config: HeadConfig, seed: int) -> NDArray[np.bool_]:
    """(N, folds · repeats): who is held out of which head; the same for every penalty."""
    rng = np.random.default_rng([seed, 2])
    numbers = [folds(groups.assigned, count=config.folds, rng=rng) for _ in range(config.repeats)]
    return np.concatenate([fold[:, None] == np.arange(config.folds) for fold in numbers], axis=1)


def _cross_fit(
    standardised: Standardised,
    features: Features,
    groups: Groups,
    *,
    held: NDArray[np.bool_],
    penalty: float,
    check: Check,
) -> NDArray[np.float32]:
    """Held-out logits (N, K), means over the repeats."""
    weights = np.stack([balanced_weights(features.labels, groups.assigned, ~mine) for mine in held.T], 1)
    return held_out_logits(
        standardised,
        features.labels,
        weights,
        held=held,
        penalty=penalty,
        classes=features.classes,
        check=check,
    )


def _balanced_loss(logits: NDArray[np.float32], labels: Labels, groups: Labels) -> tuple[float, float]:
    """Cross-entropy, the mean of the groups' means, at the temperature that suits it best; standard error."""
    members = [groups == group for group in np.unique(groups)]
    found = []
    for temperature in _TEMPERATURES:
        losses = -of_label(log_softmax(logits * np.float32(temperature)), labels)
        inside = [losses[mine] for mine in members]
        variance = sum(float(part.var()) / len(part) for part in inside)
        found.append((float(np.mean([part.mean() for part in inside])), variance**0.5 / len(inside)))
    return min(found)


@dataclass(frozen=True)
class GroupReport:
    """`n` samples; `examples` are row numbers, the surest members first; accuracies under each model.

    Of an inferred group they are what the guess says, not what a group is: read `inferred` first.
    """

    name: str
    inferred: bool
    n: int
    share: float
    examples: tuple[int, ...]
    accuracies: tuple[ModelAccuracy, ...]


def describe_groups(
    groups: Groups, *, rows: Labels, labels: Labels, predictions: Mapping[str, Labels]
) -> tuple[GroupReport, ...]:
    """Each group with examples, and how each model, by name, does on it; all arrays are (N,).

    On the training samples, so take predictions that did not see them where there are any
    (`RetrainedHead.held_out`).
    """
    order = np.arange(len(rows))
    if groups.doubt is not None:
        order = np.argsort(-groups.doubt, kind="stable")
    found = []
    for number, name in enumerate(groups.names):
        mine = groups.assigned == number
        n = int(mine.sum())
        accuracies = []
        for model, said in predictions.items():
            right = int((said[mine] == labels[mine]).sum())
            accuracies.append(ModelAccuracy(model, n, right, right / max(n, 1), *wilson(right, n)))
        members = order[mine[order]]
        examples = tuple(rows[members[:_EXAMPLES]].tolist())
        found.append(GroupReport(name, groups.inferred, n, n / len(mine), examples, tuple(accuracies)))
    return tuple(found)
