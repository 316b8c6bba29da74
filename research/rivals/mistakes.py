"""Methods that weight a sample by how wrong a first model is about it."""

from __future__ import annotations

import numpy as np

from models.mitigation.logistic import balanced_weights
from models.probabilities import log_softmax, of_label
from models.types import Floats, Labels
from research.rivals.protocol import CONFIG, Fit, Training, cross_fit, descend, reweight

_JTT_WEIGHT = 100.0
_AFR_SHARPNESS, _AFR_STEPS, _AFR_RATE, _AFR_LONGEST = 10.0, 500, 0.01, 1.0
_SHARPNESS = np.geomspace(0.02, 50, 60)  # inverse temperatures to try
_SELF_SAMPLES, _SELF_STEPS, _SELF_RATE = 100, 250, 1e-2


def jtt(training: Training) -> Fit:
    """Just Train Twice (Liu et al. 2021): what ERM gets wrong, with a hundred times the weight.

    Published: errors on the training samples after T epochs of strong weight decay. Here: held-out errors.
    100 is the paper's factor for Waterbirds, chosen with T on validation groups.
    """
    wrong = training.predictions != training.labels
    return Fit(reweight(training, 1 + (_JTT_WEIGHT - 1) * wrong), wrong)


def afr(training: Training) -> Fit:
    """Automatic Feature Reweighting (Qiu et al. 2023): weights exp(−γ p), p of the label, classes equal.

    γ, steps, rate and clipping are those of the released code for Waterbirds. Published: p from a model that
    saw the other 80 % of the training set, and a stop by validation groups. Here: held-out p, and all steps.
    """
    probability = np.exp(of_label(training.held_out, training.labels))
    weights = np.exp(-_AFR_SHARPNESS * probability)
    weights *= balanced_weights(training.labels, training.labels)
    weights /= weights.sum()
    return Fit(descend(training, weights, steps=_AFR_STEPS, rate=_AFR_RATE, longest=_AFR_LONGEST))


def self_disagreement(training: Training) -> Fit:
    """SELF (LaBonte et al. 2023): the head finetuned where an early-stopped and the final model disagree.

    The samples with the largest KL(p_early ‖ p_final), classes equal; their number, steps and rate are from
    the middle of the grids that the paper searches with validation groups. Published: networks after 1, 2 or
    5 epochs and at the end, on a half that neither was trained on. Here: held-out predictions by the most and
    the least penalised head, since a convex head stopped early is a penalised one; each at its best
    temperature, since a penalty shrinks the logits.
    """
    early, final = (
        calibrated(cross_fit(training, penalty=penalty), training.labels)
        for penalty in (max(CONFIG.penalties), min(CONFIG.penalties))
    )
    divergence = (np.exp(early) * (early - final)).sum(1)
    chosen = np.zeros(len(divergence), bool)
    chosen[np.argsort(-divergence, kind="stable")[:_SELF_SAMPLES]] = True
    weights = balanced_weights(training.labels, training.labels, chosen)
    return Fit(descend(training, weights / weights.sum(), steps=_SELF_STEPS, rate=_SELF_RATE), chosen)


def calibrated(log_probabilities: Floats, labels: Labels) -> Floats:
    """(N, K) at the temperature of the lowest cross-entropy."""
    tempered = (log_softmax((log_probabilities * factor).astype(np.float32)) for factor in _SHARPNESS)
    return min(tempered, key=lambda tried: float(-of_label(tried, labels).mean()))
