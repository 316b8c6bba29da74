"""Heads balanced over inferred groups: ours, and others' ways to use the same groups."""

from __future__ import annotations

import numpy as np
import torch

from models.mitigation.finder import infer_minority
from models.mitigation.groups import Groups
from models.mitigation.logistic import fit_heads
from models.types import Bools, Floats, Labels
from research.rivals.protocol import CONFIG, Fit, Training, retrain, reweight

_STRENGTH = 1.2


def cross_mistakes(training: Training) -> Fit:
    """Ours, of the last features: balanced over class × what heads fitted without the sample get wrong."""
    return Fit(retrain(training, training.groups).head, named_minority(training.groups))


def early_stages(training: Training) -> Fit:
    """Ours, and the default: `cross_mistakes` on early stages that agree, else the control."""
    minority = infer_minority(training.features, CONFIG, classes=training.classes, seed=training.seed)
    if not minority.is_open:
        return Fit(training.control.head)
    named = named_minority(minority.groups)
    if minority.patterns is not None:
        named = minority.patterns != training.labels
    return Fit(retrain(training, minority.groups).head, named)


def gerne_strength(training: Training) -> Fit:
    """GERNE's extrapolation (Asaad et al. 2025) over the groups of `cross_mistakes`.

    The gradient of a batch with fewer samples at their class's place, plus β times its difference to that of
    a biased batch: the gradient of a loss in which the groups are balanced, and with a strength above 1 more
    than that (`extrapolated_weights`). Published: groups from a threshold on ERM's probabilities, β by
    validation groups. Here: the groups of `cross_mistakes`, and 1.2, since nothing without groups chooses it.
    """
    weights = extrapolated_weights(training.groups, training.labels, _STRENGTH)
    return Fit(reweight(training, weights), named_minority(training.groups))


def extrapolated_weights(groups: Groups, labels: Labels, strength: float) -> Floats:
    """Weights (N,) that move each group's share α of its class to α + `strength` · (1/G − α).

    With GERNE's biased batch at α, its other at α + c · (1/G − α), and its factor β, L_less + β (L_less − L)
    has those shares at the strength c · (1 + β): 0 is ERM, 1 is balanced.
    """
    members = groups.memberships(labels)
    weights = np.zeros(len(labels))
    for label in np.unique(labels):
        mine = labels == label
        shares = members[mine].mean(0)
        present = shares > 0
        wanted = np.maximum(shares + strength * (present / present.sum() - shares), 0)
        weights[mine] = members[mine][:, present] @ (wanted[present] / shares[present])
    return weights


def ppa_aggregation(training: Training) -> Fit:
    """PPA's last two steps (Zhu et al. 2025) over the groups of `cross_mistakes`.

    A head tells the groups apart, with the logarithm of each group's share added in training; a class's
    weights are the sum of its groups'. Published: groups from what CLIP's features say when the class names
    are projected out, which takes a text encoder.
    """
    groups, values = training.groups.assigned, training.standardised.values
    counts = np.bincount(groups)
    fitted = fit_heads(
        values,
        torch.from_numpy(groups),
        torch.ones(len(groups), 1),
        penalty=training.control.penalty,
        classes=len(counts),
    )[0]
    # The added logarithms do not depend on the sample and the bias is free: so the fit is the one without
    # them, whose bias has them in it.
    fitted[-1] -= torch.from_numpy(np.log(counts / counts.sum()).astype(np.float32))
    of_class = np.zeros(len(counts), np.int64)
    of_class[groups] = training.labels
    summed = fitted.new_zeros(len(fitted), len(training.classes))
    summed.index_add_(1, torch.from_numpy(of_class), fitted)
    return Fit(training.standardised.head(summed), named_minority(training.groups))


def named_minority(groups: Groups) -> Bools:
    wrong = np.array([name.endswith("judged wrong") for name in groups.names])
    return np.asarray(wrong[groups.assigned])
