"""Which images that seem to lack the pattern of their class were probably given a wrong label instead.

To judges that see an early stage, an image that lacks the pattern of its class looks like one with a wrong
label: it shows another class's pattern. Late judges, balanced over label × pattern, go by the class: they
agree with the label of the first, and contradict that of the second. How many are wrong, and the judges
themselves, are found in turns: the expectation–maximisation of Saerens et al. (2002), with judges that are
fitted again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.features import Features, Head
from models.mitigation.groups import Groups
from models.mitigation.logistic import Check, Standardised, never
from models.mitigation.retrain import cross_fits, fit_balanced
from models.probabilities import log_softmax, of_label
from models.types import Bools, Floats, Labels

_FIRST_SHARE = 0.1
_ROUNDS = 20
_SETTLED = 0.005  # a change of the shares that ends the rounds
_LEAST_SHARE = 1e-3
_LEAST_EXPLAINED = 0.5
"""Of the variance of right or wrong that the doubts must explain; one doubt for all explains none."""
_LEAST_WRONG, _LEAST_WRONG_OF_ALL = 10, 0.01
"""Labels, and their share of all samples, that must look wrong: a few are hard images, labelled rightly."""
_LEAST_CLASSES = 2


class LabelJudge(NamedTuple):
    """`head` judges last features; its logits are at the temperature that fits held-out samples best.
    `rates` (K,): how many images of the other classes are labelled as this one by mistake, by the training
    images.
    """

    head: Head
    rates: Floats

    def doubt(self, values: NDArray[np.float32], labels: Labels, patterns: Labels) -> Floats:
        """Probability (N,) that a label is wrong, of samples that fitted no judge; 0 where the pattern shown
        is the label's own, or unknown (−1). `values` (N, D) are last features.

        The samples are taken to be labelled as carefully as the training images.
        """
        odds = _log_odds(self.head.logits(values), labels, patterns)
        contradicted = (patterns >= 0) & (patterns != labels)
        return _doubt(odds, labels, contradicted, _shares(self.rates, labels, patterns, contradicted))


def judge_labels(
    features: Features,
    groups: Groups,
    patterns: Labels,
    config: HeadConfig,
    *,
    seed: int,
    trusted: Bools,
    clusters: Labels | None = None,
    device: torch.device | None = None,
    check: Check = never,
) -> tuple[Floats, LabelJudge | None]:
    """Probability (N,) that the label of a training sample is wrong, and the judge for other samples; zeros
    and None if hardly any look wrong.

    `groups` are label × pattern, and `patterns` (N,) the classes whose pattern the samples show by judges
    that saw none of them. Labels of `trusted` (N,) samples, which a person confirmed, are right. Every late
    judge is cross-fitted: no sample is judged by a head that saw it or one of its cluster.
    """
    labels, standardised = features.labels, Standardised.of(features.values, device)
    contradicted = (patterns != labels) & ~trusted
    doubt, shares = np.zeros(len(labels)), np.full(features.classes, _FIRST_SHARE)
    judges = replace(config, penalties=config.judge_penalties)
    for _ in range(_ROUNDS):
        weighted = replace(groups, weights=1 - doubt)
        fits = cross_fits(standardised, features, weighted, judges, seed=seed, clusters=clusters, check=check)
        penalty = min(fits, key=lambda one: fits[one].loss)
        judges, fit, before = replace(judges, penalties=(penalty,)), fits[penalty], shares
        odds = _log_odds(fit.logits * np.float32(fit.sharpness), labels, patterns)
        doubt = _doubt(odds, labels, contradicted, shares)
        wrong, count = (np.bincount(labels, one, len(shares)) for one in (doubt, contradicted))
        shares = np.clip(wrong / np.maximum(count, 1), _LEAST_SHARE, 1 - _LEAST_SHARE)
        if np.abs(shares - before).max() < _SETTLED:
            break
    doubt[_alike(odds, doubt, labels, contradicted)] = 1.0
    if (doubt > 0.5).sum() < _least_wrong(labels):
        return np.zeros(len(labels)), None
    weighted = replace(groups, weights=1 - doubt)
    head = fit_balanced(standardised, features, weighted, penalty=penalty, check=check)
    wrong, others = np.bincount(labels, doubt, len(shares)), _others(labels, patterns, len(shares))
    sharp, rates = np.float32(fit.sharpness), wrong / np.maximum(others, 1)
    return doubt, LabelJudge(Head(head.weight * sharp, head.bias * sharp), rates)


def are_wrong(doubt: Floats, labels: Labels) -> bool:
    """Whether the doubted labels are wrong, so that they may weigh less: each of two classes has enough.

    Labelling errs in both directions. Doubted images of one class alone are as often its rare group, which
    late judges can hardly tell from the other class, and which needs its weight most.
    """
    doubted = np.bincount(labels[doubt > 0.5])
    has_enough = doubted >= _least_wrong(labels)
    return bool(has_enough.sum() >= _LEAST_CLASSES)


def _least_wrong(labels: Labels) -> float:
    return max(_LEAST_WRONG, _LEAST_WRONG_OF_ALL * len(labels))


def _log_odds(logits: NDArray[np.float32], labels: Labels, patterns: Labels) -> Floats:
    """Logarithm of how much likelier the class of the pattern is than the label, (N,)."""
    log_probabilities = log_softmax(logits)
    return of_label(log_probabilities, np.maximum(patterns, 0)) - of_label(log_probabilities, labels)


def _doubt(odds: Floats, labels: Labels, contradicted: Bools, shares: Floats) -> Floats:
    """(N,) by the `shares` (K,) of wrong labels among the contradicted samples of each class."""
    prior = (np.log(shares) - np.log1p(-shares))[labels]
    return np.where(contradicted, 1 / (1 + np.exp(-np.clip(odds + prior, -500, 500))), 0.0)


def _alike(odds: Floats, doubt: Floats, labels: Labels, contradicted: Bools) -> Bools:
    """(N,), true for the contradicted samples of a class that even the late judges cannot tell from the class
    whose pattern they show. Then nothing sets them apart but the label, so that all of them are wrong: with
    no right one among them to learn from, the judges' odds stay even, and the doubt where it began."""
    alike = np.zeros(len(labels), bool)
    for label in np.unique(labels[contradicted]):
        mine = contradicted & (labels == label)
        share = doubt[mine].mean()
        explained_variance = 1 - (doubt[mine] * (1 - doubt[mine])).mean() / max(share * (1 - share), 1e-12)
        alike[mine] = explained_variance < _LEAST_EXPLAINED and odds[mine].mean() >= 0
    return alike


def _shares(rates: Floats, labels: Labels, patterns: Labels, contradicted: Bools) -> Floats:
    """(K,) of wrong labels among these contradicted samples, by the `rates` of mislabelling."""
    count = np.bincount(labels[contradicted], minlength=len(rates))
    shares = rates * _others(labels, patterns, len(rates)) / np.maximum(count, 1)
    return np.clip(shares, _LEAST_SHARE, 1 - _LEAST_SHARE)


def _others(labels: Labels, patterns: Labels, classes: int) -> Labels:
    """(K,): how many samples are of other classes than this one and show their own pattern."""
    own = np.bincount(labels[labels == patterns], minlength=classes)
    return np.asarray(own.sum() - own)
