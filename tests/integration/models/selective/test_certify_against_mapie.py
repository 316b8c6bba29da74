"""The certificate against another implementation of Learn-then-Test: MAPIE's controller.

MAPIE has no selective risk and no start but the first threshold. Both can be said in its words: the risk
"wrong, among those that are answered", and one controller for each walk, over the thresholds from its
start on, at its level. Its p-value is the exact binomial one as well (the smaller of that and
Hoeffding's, which is never smaller).
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from models.selective import CalibrationTable
from models.selective.certify import Walk, certified_step, walks


def said(n: int, seed: int, *, ties: bool = False) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (N, 3) of a classifier that errs where it is unsure, and the true labels."""
    rng = np.random.default_rng(seed)
    top = 1 - 0.6 * rng.random(n) ** 2
    top = np.round(top, 2) if ties else top
    labels = rng.integers(0, 3, n)
    probabilities = np.full((n, 3), 0.0)
    answered = np.where(rng.random(n) < 0.5 * (1 - top) ** 2, (labels + 1) % 3, labels)
    probabilities[:] = ((1 - top) / 2)[:, None]
    probabilities[np.arange(n), answered] = top
    return probabilities, labels


def theirs(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    *,
    walk: Walk,
    risk: float,
) -> NDArray[np.float64]:
    """The thresholds that MAPIE certifies when it walks through these."""
    from mapie.risk_control import BinaryRisk, MultiClassificationLTTController  # loads scikit-learn

    selective = BinaryRisk(
        risk_occurrence=lambda y_true, y_pred: y_pred != y_true,
        risk_condition=lambda _, y_pred: ~np.isnan(y_pred),
        higher_is_better=False,
    )
    controller = MultiClassificationLTTController(
        predict_function=np.asarray,
        risks=[selective],
        target_level=[risk],
        confidence_level=1 - walk.level,
        list_predict_params=thresholds,
        classes=np.arange(3),
        fwer_method="fixed_sequence",
    )
    controller.calibrate(probabilities, labels)
    certified_thresholds: NDArray[np.float64] = np.asarray(controller.valid_predict_params, np.float64)
    return certified_thresholds


@pytest.mark.filterwarnings("ignore")  # MAPIE warns where nothing can be certified
@pytest.mark.parametrize("target", [(0.02, 0.99), (0.05, 0.9), (0.1, 0.95)])
@pytest.mark.parametrize(("n", "ties"), [(120, False), (500, False), (3000, True)])
def test_mapie_certifies_the_same_thresholds(n: int, ties: bool, target: tuple[float, float]) -> None:
    risk, confidence = target
    probabilities, labels = said(n, seed=n, ties=ties)
    top, right = probabilities.max(1), probabilities.argmax(1) == labels
    table = CalibrationTable.build(top, right)
    lowest: list[float] = []
    for walk in walks(n, risk, confidence):
        thresholds = table.thresholds[table.answered >= walk.start]
        of_mapie = theirs(probabilities, labels, thresholds, walk=walk, risk=risk)
        passed = _passed(table, walk, risk)
        if passed != len(of_mapie):
            # MAPIE counts errors as ceil(k · (e / k)), which rounding lifts to e + 1 now and then.
            assert len(of_mapie) < passed
            k, e = table.at(float(thresholds[len(of_mapie)]))
            assert np.ceil(k * (e / k)) == e + 1
            assert binom.cdf(e + 1, k, risk) > walk.level
        assert of_mapie.tolist() == thresholds[: len(of_mapie)].tolist()
        lowest += thresholds[:passed].tolist()
    step = certified_step(table, *target)
    assert (None if step is None else float(table.thresholds[step])) == min(lowest, default=None)


def _passed(table: CalibrationTable, walk: Walk, risk: float) -> int:
    """How many thresholds pass from the walk's start on, by the test as it is written down."""
    first = int(np.searchsorted(table.answered, walk.start))
    steps = zip(table.answered[first:].tolist(), table.wrong[first:].tolist(), strict=True)
    return next(
        (number for number, (k, e) in enumerate(steps) if binom.cdf(e, k, risk) > walk.level),
        len(table.answered) - first,
    )
