"""Promises about every class at once: `risk` by the predicted class, `missed` by the true one.

δ = 1 − confidence is divided evenly among the statements (Bonferroni): with probability `confidence`, all
that are certified hold at once. Each is tested on the samples of its own class.

`missed`: the share of the true A that is answered as another class at or above a threshold, common to all of
those, falls as the threshold rises. If the lowest threshold that passes the exact binomial test has too large
a share, so has every lower one, and the highest of these passes with a probability of at most its level
(Bates et al., Distribution-Free, Risk-Controlling Prediction Sets, 2021). With higher thresholds, the other
classes miss still fewer. So class B, which may be answered for any other class, takes the highest of their
thresholds, and every `missed` holds.

`risk`: the walks of `certify` over the answers "B". All thresholds that they pass are certified at once
(fixed sequences: Angelopoulos et al., Learn then Test, 2021), and any may be chosen, by whatever rule: here
the lowest that is at least what `missed` demands of B. The risk need not fall as the threshold rises, so a
threshold above the start of the walks is not certified.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from models.selective.certify import certified_step, samples_at_least, samples_needed
from models.selective.policies import ClassPromise, Selection, Status, require
from models.selective.table import DEFAULT_CONFIDENCE, CalibrationTable, point_of_counts


def certify_classes(
    classes: tuple[str, ...],
    predicted: Mapping[str, CalibrationTable],
    true: Mapping[str, CalibrationTable],
    *,
    max_risk: float | None = None,
    max_missed: float | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Selection:
    """Thresholds that keep `max_risk`, `max_missed` or both for each class, with probability `confidence`.

    `predicted` and `true` have the tables by the predicted and by the true class; a class without a sample is
    absent. A class whose `risk` is not certified is never answered. A `missed` that is not certified promises
    nothing, and demands nothing of the other classes. Raises ValueError for a share out of range.
    """
    shares = [share for share in (max_risk, max_missed) if share is not None]
    require(bool(shares), "max_risk or max_missed must be given")
    require(all(0 < share < 1 for share in shares), "max_risk and max_missed must be above 0 and below 1")
    require(0.5 <= confidence < 1, "the confidence must be in 0.5 … 1")
    each = 1 - (1 - confidence) / (len(shares) * len(classes))
    missed = {}
    if max_missed is not None:
        missed = {label: _missed(label, true.get(label), max_missed, each) for label in classes}
    demands = {label: p.threshold for label, p in missed.items() if p.threshold is not None}
    thresholds: dict[str, float | None] = {
        label: max((demand for other, demand in demands.items() if other != label), default=-math.inf)
        for label in classes
    }
    risks = {}
    if max_risk is not None:
        risks = {
            label: _risk(label, predicted.get(label), max_risk, each, at_least=at_least or -math.inf)
            for label, at_least in thresholds.items()
        }
        thresholds = {label: promise.threshold for label, promise in risks.items()}
    counts = [table.at(t) for label, table in predicted.items() if (t := thresholds[label]) is not None]
    answered, errors = (sum(column) for column in zip((0, 0), *counts, strict=True))
    point = point_of_counts(
        sum(table.n for table in predicted.values()), answered, errors, threshold=None, confidence=confidence
    )
    promises = (*risks.values(), *missed.values())
    return Selection(
        policy="by_class",
        requested=max_risk,
        status=_status(promises),
        method="learn-then-test for each class, exact binomial, Bonferroni",
        # The thresholds were searched for, so no bound by these counts holds. But a risk that is kept for
        # each class is kept for all answers.
        point=replace(point, risk_upper=max_risk if max_risk and answered else 1.0),
        promises=promises,
        class_thresholds=thresholds,
    )


def _missed(label: str, table: CalibrationTable | None, share: float, confidence: float) -> ClassPromise:
    from scipy.special import bdtr  # not scipy.stats: half a second to import

    n = 0 if table is None else table.n
    # The most errors that the exact test lets pass: the more, the less rare.
    allowed = bisect_right(range(n), 1 - confidence, key=lambda errors: bdtr(errors, n, share)) - 1
    if table is None or allowed < 0:
        least = samples_at_least(share, confidence)
        return ClassPromise(label, "missed", share, None, n, None, 0, least and least - n)
    too_many = np.flatnonzero(table.wrong > allowed)
    threshold = math.nextafter(table.thresholds[too_many[0]], math.inf) if len(too_many) else -math.inf
    return ClassPromise(label, "missed", share, threshold, n, None, table.at(threshold)[1])


def _risk(
    label: str, table: CalibrationTable | None, share: float, confidence: float, *, at_least: float
) -> ClassPromise:
    if table is None:
        return ClassPromise(label, "risk", share, None, 0, 0, 0, samples_at_least(share, confidence))
    above = table.from_threshold(at_least)
    step = certified_step(above, share, confidence)
    if step is None:
        number = samples_needed(above, share, confidence, more_than=table.n)
        return ClassPromise(label, "risk", share, None, table.n, 0, 0, number and number - table.n)
    threshold = float(above.thresholds[step])
    return ClassPromise(label, "risk", share, threshold, table.n, *above.at(threshold))


def _status(promises: tuple[ClassPromise, ...]) -> Status:
    certified = {promise.threshold is not None for promise in promises}
    if len(certified) > 1:
        return "partly_certified"
    return "certified" if certified == {True} else "not_certifiable"
