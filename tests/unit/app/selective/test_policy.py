"""The reject option at the edge: policies, thresholds, decisions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.inference import Calibration
from app.selective.policy import AppliedPolicy, PolicyRequest, apply_policy, probability, requested_policy
from core.errors import InvalidInput
from masktune.contract.serving import predictions
from masktune.contract.serving.predictions import PredictQuery
from masktune.contract.vocabulary import AbstainReason, Decision, SelectionStatus
from models import selective
from models.selective import CalibrationTable


def _calibration(scores: list[float], right: list[bool]) -> Calibration:
    table = CalibrationTable.build(np.array(scores), np.array(right))
    return Calibration("cal_1", 1.7e9, {"max_softmax": table}, {})


def _good(n: int) -> Calibration:
    """The surer half right, half of the rest wrong."""
    return _calibration([-0.001 * i for i in range(n)], [i < n / 2 or i % 2 == 0 for i in range(n)])


def _applied(asked: PolicyRequest, calibration: Calibration | None = None) -> AppliedPolicy:
    return apply_policy(asked, calibration, "max_softmax")


def test_a_certificate_says_that_one_image_per_subject_counts() -> None:
    plain = _good(1000)
    of_subjects = dataclasses.replace(plain, n_subjects=900)
    for calibration, counted in ((plain, None), (of_subjects, 900)):
        use = _applied(PolicyRequest("max_risk", 0.1), calibration).selection.calibration
        assert use is not None
        assert (use.n, use.n_subjects) == (1000, counted)
        assert (use.method or "").startswith("learn-then-test")
        assert ("one image per subject, drawn at random" in (use.method or "")) == bool(counted)


def test_at_most_one_policy() -> None:
    assert requested_policy(PredictQuery(model="m")) == PolicyRequest("none")
    assert requested_policy(PredictQuery(model="m", coverage=0.9)) == PolicyRequest("coverage", 0.9)
    assert requested_policy(PredictQuery(model="m", max_risk=0.1)) == PolicyRequest("max_risk", 0.1, 0.99)
    assert requested_policy(PredictQuery(model="m", max_risk=0.1, risk_confidence=0.9)) == PolicyRequest(
        "max_risk", 0.1, 0.9
    )
    with pytest.raises(InvalidInput) as refusal:
        requested_policy(PredictQuery(model="m", coverage=0.9, max_risk=0.1, min_score=0.5))
    assert [e.pointer for e in refusal.value.errors] == ["?coverage", "?max_risk", "?min_score"]
    with pytest.raises(InvalidInput):
        requested_policy(PredictQuery(model="m", coverage=0.9, risk_confidence=0.9))


@given(st.sampled_from(["coverage", "max_risk", "min_score"]), st.floats(allow_nan=True, allow_infinity=True))
@settings(max_examples=25, deadline=None)
def test_a_share_is_a_share(name: str, value: float) -> None:
    assume(not 0 <= value <= 1)
    with pytest.raises(ValidationError):
        PredictQuery.model_validate({"model": "m", name: value})


@given(st.floats(1e-6, 1), st.floats(-20, 0))
@settings(max_examples=25, deadline=None)
def test_a_raw_threshold_is_compared_on_the_scale_it_was_given_in(bar: float, score: float) -> None:
    shown = probability(score)
    assert shown is not None
    assume(abs(shown - bar) > 1e-12)
    for calibration in (None, _good(40)):
        applied = _applied(PolicyRequest("min_score", bar), calibration)
        assert applied.selection.status is SelectionStatus.RAW_THRESHOLD
        assert applied.selection.requested == bar
        assert applied.selection.threshold == pytest.approx(bar)
        assert (applied.decide(score, "up")[0] is Decision.ANSWER) == (shown > bar)


@pytest.mark.parametrize("calibration", [None, _good(40)])
def test_no_policy_answers_every_finite_score(calibration: Calibration | None) -> None:
    applied = _applied(PolicyRequest("none"), calibration)
    assert (applied.selection.status, applied.selection.threshold) == (SelectionStatus.NONE, None)
    assert applied.decide(-500.0, "up") == (Decision.ANSWER, None)
    for broken in (math.nan, math.inf, -math.inf):
        assert applied.decide(broken, "up") == (Decision.ABSTAIN, AbstainReason.BELOW_THRESHOLD)


@pytest.mark.parametrize(
    "policy",
    [PolicyRequest("min_score", 0.5), PolicyRequest("coverage", 0.9), PolicyRequest("max_risk", 1e-4, 0.99)],
)
def test_with_any_policy_an_unlike_input_abstains_and_without_one_it_is_answered(
    policy: PolicyRequest,
) -> None:
    for score in (0.0, -500.0, math.nan):
        decision = _applied(policy, _good(40)).decide(score, "up", unlike=True)
        assert decision == (Decision.ABSTAIN, AbstainReason.UNLIKE_TRAINING)
    everything = _applied(PolicyRequest("none"), _good(40))
    assert everything.decide(-500.0, "up", unlike=True) == (Decision.ANSWER, None)
    assert everything.decide(math.nan, "up", unlike=True)[1] is AbstainReason.BELOW_THRESHOLD


def test_what_each_policy_did_on_the_split_is_counted_with_its_own_rule() -> None:
    """Two of six samples are unlike the training images: only without a policy are they answered."""
    scores, right = np.log([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([1, 0, 1, 1, 1, 1], bool)
    unlike = np.array([0, 1, 0, 0, 0, 1], bool)
    gated = CalibrationTable.build(np.where(unlike, -np.inf, scores), right)
    whole = CalibrationTable.build(scores, right)
    calibration = Calibration(
        "cal_1", 1.7e9, {"max_softmax": gated}, {}, unlike_answered={"max_softmax": whole}
    )
    counts = {}
    for request in (PolicyRequest("none"), PolicyRequest("coverage", 1.0), PolicyRequest("min_score", 0.5)):
        use = _applied(request, calibration).selection.calibration
        assert use is not None
        counts[request.policy] = (use.n, use.n_answered, use.n_errors)
    assert counts == {"none": (6, 6, 1), "coverage": (6, 4, 0), "min_score": (6, 4, 0)}
    alone = calibration.of_scores_alone
    assert alone.tables["max_softmax"] is whole
    assert not alone.unlike_answered
    assert alone.of_scores_alone is alone


def test_what_could_be_certified_is_told() -> None:
    answer = _applied(PolicyRequest("max_risk", 1e-4), _good(400)).selection
    assert answer.best_certifiable_risk is not None
    assert answer.best_certifiable_risk > 1e-4
    assert answer.samples_at_least is not None
    assert answer.samples_at_least > 400
    again = _applied(PolicyRequest("max_risk", answer.best_certifiable_risk * 1.02), _good(400)).selection
    assert again.status is SelectionStatus.CERTIFIED


def test_scores_are_shown_as_probabilities() -> None:
    assert probability(math.log(0.25)) == pytest.approx(0.25)
    assert probability(-math.inf) == 0
    assert probability(None) is None
    assert probability(math.nan) is None


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
def test_without_a_certificate_the_bound_is_that_of_the_counts(asked: PolicyRequest) -> None:
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
