"""Methods that weight a sample by how wrong a first model is about it."""

from __future__ import annotations

import numpy as np

from benchmarks.rivals.protocol import CONFIG, Fit, Start, Training, cross_fit, descend, reweight
from models.mitigation.logistic import balanced_weights, of_label

_JTT_WEIGHT = 100.0
_AFR_SHARPNESS, _AFR_STEPS, _AFR_RATE, _AFR_LONGEST = 10.0, 500, 0.01, 1.0
_SELF_SAMPLES, _SELF_STEPS, _SELF_RATE = 100, 250, 1e-2


def jtt(training: Training, start: Start) -> Fit:
    """Just Train Twice (Liu et al. 2021): what ERM gets wrong, with a hundred times the weight.

    Published: errors on the training samples after T epochs of strong weight decay. Here: held-out errors.
    100 is the paper's factor for Waterbirds, chosen with T on validation groups.
    """
    wrong = start.predictions != training.labels
    return Fit(reweight(training, 1 + (_JTT_WEIGHT - 1) * wrong), wrong)


def afr(training: Training, start: Start) -> Fit:
    """Automatic Feature Reweighting (Qiu et al. 2023): weights exp(−γ p), p of the label, classes equal.

    γ, steps, rate and clipping are those of the released code for Waterbirds. Published: p from a model that
    saw the other 80 % of the training set, and a stop by validation groups. Here: held-out p, and all steps.
    """
    probability = np.exp(of_label(start.held_out, training.labels))
    weights = np.exp(-_AFR_SHARPNESS * probability)
    weights *= balanced_weights(training.labels, training.labels)
    weights /= weights.sum()
    return Fit(descend(training, start, weights, steps=_AFR_STEPS, rate=_AFR_RATE, longest=_AFR_LONGEST))


def self_disagreement(training: Training, start: Start) -> Fit:
    """SELF (LaBonte et al. 2023): the head finetuned where an early-stopped and the final model disagree.

    The samples with the largest KL(p_early ‖ p_final), classes equal; their number, steps and rate are from
    the middle of the grids that the paper searches with validation groups. Published: networks after 1, 2 or
    5 epochs and at the end, on a half that neither was trained on. Here: held-out predictions by the most and
    the least penalised head, since a convex head stopped early is a penalised one.
    """
    early, final = (
        cross_fit(training, start.standardised, penalty=penalty)
        for penalty in (max(CONFIG.penalties), min(CONFIG.penalties))
    )
    divergence = (np.exp(early) * (early - final)).sum(1)
    chosen = np.zeros(len(divergence), bool)
    chosen[np.argsort(-divergence, kind="stable")[:_SELF_SAMPLES]] = True
    weights = balanced_weights(training.labels, training.labels, chosen)
    return Fit(descend(training, start, weights / weights.sum(), steps=_SELF_STEPS, rate=_SELF_RATE), chosen)
