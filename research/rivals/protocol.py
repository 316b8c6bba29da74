"""What every method gets, what it gives back, and the fit that all of them share.

No method is told a place, for fitting, choosing or stopping: only the ceiling is, which is no `Method`. All
heads take the same features; all but ERM's choose their penalty from the same candidates on the same folds,
and are balanced over the classes. What a paper tuned on labelled groups has the value that it published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.network import Network
from models.mitigation.features import Features, Head
from models.mitigation.groups import Groups, class_groups, cross_mistakes, divided_by
from models.mitigation.logistic import Standardised, balanced_weights, folds, held_out_logits
from models.probabilities import log_softmax
from models.mitigation.retrain import RetrainedHead, retrain_head
from models.mitigation.stage_features import StageFeatures
from models.types import Bools, Floats, Labels
from research.rivals.features import Images

CONFIG = HeadConfig()


@dataclass(frozen=True)
class Training:
    """A training set as a method may see it, and what most methods start from, computed when first asked for.

    Arrays are in the order of `features.last`; `images` (N, S, S, 3) and `activations` (N, C, h, w) are those
    of the frozen `network`.
    """

    features: StageFeatures
    images: Images
    activations: NDArray[np.float16]
    network: Network
    seed: int

    @property
    def last(self) -> Features:
        return self.features.last

    @property
    def labels(self) -> Labels:
        return self.features.last.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(label) for label in range(self.last.classes))

    def rng(self, number: int) -> np.random.Generator:
        """Randomness of its own for each method that draws."""
        return np.random.default_rng([self.seed, number])

    @cached_property
    def standardised(self) -> Standardised:
        return Standardised.of(self.last.values)

    @cached_property
    def control(self) -> RetrainedHead:
        """The product's fit, balanced over the classes: the control of all others."""
        return retrain(self, class_groups(self.labels, self.classes))

    @cached_property
    def held_out(self) -> Floats:
        """Log-probabilities (N, K) of each sample by heads with the control's penalty, fitted without it.

        A head on 1,280 features hardly errs on its own training samples, so these stand in for an unfinished
        network's.
        """
        return cross_fit(self, penalty=self.control.penalty)

    @property
    def predictions(self) -> Labels:
        return np.asarray(self.held_out.argmax(1), np.int64)

    @cached_property
    def groups(self) -> Groups:
        """Those of `cross_mistakes`."""
        return cross_mistakes(self.last, CONFIG, classes=self.classes, seed=self.seed)


class Fit(NamedTuple):
    """A method's head, on raw features, and the `minority` (N,) of the training samples that it names."""

    head: Head
    minority: Bools | None = None


Method = Callable[[Training], Fit]


def cross_fit(
    training: Training,
    *,
    penalty: float,
    standardised: Standardised | None = None,
    weights: Floats | None = None,
) -> Floats:
    """Log-probabilities (N, K) by class-balanced heads fitted without the sample, to the last features unless
    to others; `weights` (N,) multiply those of the samples."""
    labels, rng = training.labels, training.rng(1)
    parts = [folds(labels, count=CONFIG.folds, rng=rng) for _ in range(CONFIG.repeats)]
    held = np.concatenate([part[:, None] == np.arange(CONFIG.folds) for part in parts], axis=1)
    sample_weights = balanced_weights(labels, labels) * (1 if weights is None else weights)
    columns = np.repeat(sample_weights[:, None], held.shape[1], 1)
    logits = held_out_logits(
        training.standardised if standardised is None else standardised,
        labels,
        columns,
        held=held,
        penalty=penalty,
        classes=len(training.classes),
    )
    return log_softmax(logits)


def retrain(training: Training, groups: Groups) -> RetrainedHead:
    """The product's own fit, balanced over `groups`."""
    return retrain_head(training.network, training.last, groups, CONFIG, seed=training.seed)


def reweight(training: Training, weights: Floats) -> Head:
    """The same fit over the classes, in which samples have any `weights` (N,) ≥ 0."""
    return retrain(training, reweighted_classes(training.labels, training.classes, weights)).head


def reweighted_classes(labels: Labels, classes: tuple[str, ...], weights: Floats) -> Groups:
    return _WeightedClasses("classes", False, labels, classes, weights=weights)


def divide(training: Training, minority: Bools) -> Groups:
    """Class × minority."""
    return divided_by(
        "cross_mistakes",  # no rival has a source of its own, and no fit reads it
        training.labels,
        minority,
        training.classes,
        called=("majority", "minority"),
        clusters=np.arange(len(minority)),
    )


@dataclass(frozen=True, kw_only=True)
class _WeightedClasses(Groups):
    """One group per class, in which a sample has its part of `weights` (N,)."""

    weights: Floats

    def memberships(self, labels: Labels) -> Floats:
        return np.asarray(np.eye(len(self.names))[labels] * self.weights[:, None])


def retrain_over_clusters(
    training: Training, points: NDArray[np.float32], cluster: Callable[[NDArray[np.float32], int], Labels]
) -> Head:
    """The fit balanced over the clusters (N,) of each class's `points` (N, D), with a seed."""
    assigned, names = np.zeros(len(points), np.int64), list[str]()
    for label, name in enumerate(training.classes):
        mine = training.labels == label
        clusters = cluster(points[mine], training.seed)
        assigned[mine] = len(names) + clusters
        names += [f"{name} · cluster {number}" for number in range(int(clusters.max()) + 1)]
    return retrain(training, Groups("cross_mistakes", True, assigned, tuple(names))).head


def standard_weights(standardised: Standardised, head: Head) -> Tensor:
    """`head` as weights (D + 1, K) on standardised features: the inverse of `Standardised.head`."""
    weight = torch.from_numpy(head.weight.T) * standardised.std[:, None]
    bias = torch.from_numpy(head.bias) + standardised.mean @ torch.from_numpy(head.weight.T)
    return torch.cat([weight, bias[None]])


def descend(
    training: Training,
    sample_weights: Floats,
    *,
    steps: int,
    rate: float,
    longest: float = float("inf"),
) -> Head:
    """The control's head after `steps` of plain gradient descent on the weighted cross-entropy, no longer.

    `sample_weights` (N,) sum to 1; a gradient is cut to the length `longest`.
    """
    features, labels = training.standardised.values, torch.from_numpy(training.labels)
    shares = torch.from_numpy(sample_weights.astype(np.float32))
    weights = standard_weights(training.standardised, training.control.head).requires_grad_()
    for _ in range(steps):
        losses = F.cross_entropy(features @ weights[:-1] + weights[-1], labels, reduction="none")
        (gradient,) = torch.autograd.grad((shares * losses).sum(), weights)
        with torch.no_grad():
            weights -= rate * gradient * min(1.0, longest / max(float(gradient.norm()), 1e-12))
    return training.standardised.head(weights.detach())
