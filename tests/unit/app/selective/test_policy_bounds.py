"""What an answer says of its threshold: at whose confidence, by which bound, what could be had instead."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.inference import Calibration
from app.selective.policy import PolicyRequest, apply_policy, requested_policy
from masktune.contract import predictions
from masktune.contract.predictions import PredictQuery
from models import selective
from models.selective import CalibrationTable

RIGHT = np.arange(1000) < 980
TABLE = CalibrationTable.build(-0.001 * np.arange(1000), RIGHT)
CALIBRATION = Calibration("cal_1", 1.7e9, {"max_softmax": TABLE}, {}, temperature=1.5)


def told(asked: PolicyRequest) -> tuple[predictions.Selection, predictions.Calibration]:
    answer = apply_policy(asked, CALIBRATION, "max_softmax").selection
    assert answer.calibration is not None
    return answer, answer.calibration


@pytest.mark.parametrize("confidence", [0.5, 0.99, 0.9999])
def test_a_certificate_is_made_and_told_at_the_confidence_of_the_request(confidence: float) -> None:
    query = PredictQuery(model="m", max_risk=0.01, risk_confidence=confidence)
    answer, use = told(requested_policy(query))
    expected = selective.certify(TABLE, max_risk=0.01, confidence=confidence)
    assert expected.threshold is not None
    assert answer.threshold == pytest.approx(math.exp(expected.threshold))
    assert (use.risk_confidence, use.n_answered) == (confidence, expected.point.answered)
    assert (use.risk_upper, answer.requested) == (0.01, 0.01)
    assert answer.samples_needed is None


@pytest.mark.parametrize(
    "asked", [PolicyRequest("coverage", 0.9), PolicyRequest("min_score", 0.5), PolicyRequest("none")]
)
def test_without_a_certificate_the_bound_is_that_of_the_counts(
    asked: PolicyRequest,
) -> None:
    _, use = told(asked)
    bound = selective.operating_point(TABLE, math.log(threshold_of(asked)))
    assert (use.n_answered, use.n_errors) == (bound.answered, bound.errors)
    assert use.risk_upper == pytest.approx(bound.risk_upper)
    assert use.risk_confidence == selective.DEFAULT_CONFIDENCE
    assert use.risk == pytest.approx(bound.errors / bound.answered)


def threshold_of(asked: PolicyRequest) -> float:
    """As a probability: rank 900 of the split, half, and anything."""
    return {"coverage": math.exp(-0.899), "min_score": 0.5, "none": 1e-300}[asked.policy]


def test_where_nothing_is_certified_no_bound_is_promised_and_what_it_takes_is_told() -> None:
    answer, use = told(PolicyRequest("max_risk", 0.001))
    assert (answer.status, answer.threshold, use.n_answered) == ("not_certifiable", None, 0)
    assert (use.risk, use.risk_upper) == (None, 1.0)
    expected = selective.certify(TABLE, max_risk=0.001).planning
    assert expected is not None
    assert expected.samples_needed is not None
    assert (answer.best_certifiable_risk, answer.samples_at_least, answer.samples_needed) == (
        expected.best_certifiable_risk,
        expected.samples_at_least,
        expected.samples_needed,
    )


@pytest.mark.parametrize(
    "asked", [PolicyRequest("coverage", 0.9), PolicyRequest("max_risk", 0.05), PolicyRequest("none")]
)
def test_the_calibration_is_named_with_all_that_it_is(asked: PolicyRequest) -> None:
    _, use = told(asked)
    assert (use.id, use.n, use.temperature) == ("cal_1", 1000, 1.5)
