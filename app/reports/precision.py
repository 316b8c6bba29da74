"""How many of the images that seem to lack the pattern do lack it, by what a person said of some."""

from __future__ import annotations

from collections.abc import Collection

from masktune.contract.report import Report
from masktune.contract.report.groups import EarlyStageDetails
from masktune.contract.report.inferred import GuessPrecision, InferredSplit
from masktune.contract.reviews import ReviewedImage
from masktune.contract.vocabulary import Arm
from models.statistics import clopper_pearson


def guess_precision(report: Report, answers: Collection[ReviewedImage]) -> GuessPrecision | None:
    """By the answers on images that were drawn at random: those on the surest ones would flatter. None if
    there are none, or if the figures do not rest on inferred groups."""
    inferred, groups = report.inferred_groups, report.groups
    if inferred is None or not inferred.decide or groups is None:
        return None
    if not isinstance(groups.details, EarlyStageDetails):
        return None
    samples = groups.details.random_candidates
    lack = [one.lacks_pattern for one in answers if one.sample in samples]
    if not lack:
        return None
    low, _ = clopper_pearson(sum(lack), len(lack), confidence=0.95)  # either end at 97.5 %
    at_bound = {} if inferred.test is None else _accuracy_at(float(low), inferred.test)
    return GuessPrecision(answers=len(lack), lacking=sum(lack), low=float(low), at_bound=at_bound)


def _accuracy_at(precision: float, split: InferredSplit) -> dict[Arm, float]:
    """Each model's accuracy on images that truly lack the pattern, if only this share of the inferred ones
    does and the others are answered like the rest; empty where that says nothing.

    The accuracy on the inferred ones is then the mean of the two, weighted by the precision.
    """
    if not (precision and split.lacking.n and split.rest.n):
        return {}
    accuracies = {}
    for arm, of in split.lacking.accuracies.items():
        others = (1 - precision) * split.rest.accuracies[arm].accuracy
        accuracies[arm] = min(1.0, max(0.0, (of.accuracy - others) / precision))
    return accuracies
