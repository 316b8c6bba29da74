"""The reject option of a predict job: the policy in its parameters, applied to the model's calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from core.errors import JobError
from masktune.contract.hyperparameters import ScoreName
from models.selective import (
    DEFAULT_CONFIDENCE,
    ONE_PER_SUBJECT,
    CalibrationTable,
    Selection,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from worker.protocol import ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, read_tables
from worker.stages.context import StageContext


def score_name(context: StageContext, model: ModelSpec) -> ScoreName:
    """The requested score, else the one that the model was calibrated for."""
    requested: ScoreName | None = context.spec.params.get("score")
    name: ScoreName = requested or (model.calibration or {}).get("score_name") or DEFAULT_SCORE
    if name != DEFAULT_SCORE and model.erm_id is None:
        raise JobError("score_needs_erm", f"{name} needs an ERM model, and model {model.id} has none")
    return name


def apply_policy(context: StageContext, model: ModelSpec, score_name: ScoreName) -> Selection | None:
    """The threshold that the policy selects, or None without a policy.

    Raises JobError if the policy cannot be applied, or if nothing can be certified and `on_uncertified` is
    "error".
    """
    params = context.spec.params
    policies = [name for name in _POLICIES if params.get(name) is not None]
    if not policies:
        return None
    if len(policies) > 1:
        raise JobError("invalid_parameters", f"give at most one policy, not {' and '.join(policies)}")
    if model.calibration is None:
        raise JobError(
            "not_calibrated",
            f"model {model.id} has no calibration; make one with POST /jobs/evaluate and a data set",
        )
    tables = read_tables(context, model.calibration)
    table = CalibrationTable.from_json(tables["scores"][score_name])
    confidence = params.get("risk_confidence") or DEFAULT_CONFIDENCE
    (policy,) = policies
    selection = _POLICIES[policy](table, float(params[policy]), confidence)
    if tables.get("n_subjects") is not None:
        selection = replace(selection, method=selection.method + ONE_PER_SUBJECT)
    if selection.status == "not_certifiable" and params.get("on_uncertified") == "error":
        raise JobError(
            "not_certifiable",
            f"no threshold can be certified for a risk of {selection.requested} with {table.n} calibration "
            f"samples; {_possible(selection)}; allow a larger risk or a lower confidence, or calibrate on "
            "more samples",
        )
    return selection


def risk_upper(selection: Selection) -> float:
    """The bound on the selective risk that holds for the threshold, at the point's confidence.

    For a threshold found by a certified search, only the certified risk holds, not the point's own bound.
    """
    if selection.status == "certified" and selection.requested is not None:
        return selection.requested
    return selection.point.risk_upper


def describe(context: StageContext, selection: Selection) -> dict[str, Any]:
    """The selection as plain JSON values, as in the API: scores are probabilities, and `risk_upper` is the
    bound that holds.

    With a null threshold, nothing is answered if nothing could be certified, else every finite score is.
    """
    facts = selection.to_json() | {"requested": context.spec.params[selection.policy]}
    threshold = facts["point"]["threshold"]
    facts["point"] |= {
        "threshold": None if threshold is None else math.exp(threshold),
        "risk_upper": risk_upper(selection),
    }
    return facts


def _possible(selection: Selection) -> str:
    """What could be certified instead, and how many samples the requested risk would take."""
    assert selection.planning is not None
    best, needed = selection.planning.best_certifiable_risk, selection.planning.samples_needed
    least = "they certify no risk below 1" if best is None else f"the lowest they certify is {best:.4g}"
    return least + ("" if needed is None else f", and about {needed} samples would be enough")


_POLICIES: dict[str, Callable[[CalibrationTable, float, float], Selection]] = {
    "coverage": lambda table, share, _: threshold_for_coverage(table, share),
    "max_risk": lambda table, risk, confidence: certify(table, max_risk=risk, confidence=confidence),
    # The parameter is a probability; internally, scores are log-probabilities.
    "min_score": lambda table, probability, _: threshold_for_score(table, math.log(probability)),
}
