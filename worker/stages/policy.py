"""The reject option of a predict job: the policy in its parameters, applied to the model's calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from core.errors import JobError
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.job_params import PredictParams
from masktune.contract.report.text import not_certifiable
from models.selective import (
    DEFAULT_CONFIDENCE,
    ONE_PER_SUBJECT,
    CalibrationTable,
    Selection,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from worker.results import Json, ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, read_tables
from worker.stages.context import StageContext


def score_name(context: StageContext, model: ModelSpec) -> ScoreName:
    """The requested score, else the one that the model was calibrated for."""
    calibrated = DEFAULT_SCORE if model.calibration is None else model.calibration.score_name
    name = context.job_params(PredictParams).score or calibrated
    if name != DEFAULT_SCORE and model.erm_id is None:
        raise JobError("score_needs_erm", f"{name} needs an ERM model, and model {model.id} has none")
    return name


def apply_policy(context: StageContext, model: ModelSpec, score_name: ScoreName) -> Selection | None:
    """The threshold that the policy selects, or None without a policy.

    Raises JobError if the policy cannot be applied, or if nothing can be certified and `on_uncertified` is
    "error".
    """
    params = context.job_params(PredictParams)
    requested = {name: getattr(params, name) for name in _POLICIES if getattr(params, name) is not None}
    if not requested:
        return None
    ((policy, number),) = requested.items()
    if model.calibration is None:
        raise JobError(
            "not_calibrated",
            f"model {model.id} has no calibration; evaluate it on a data set to make one",
        )
    tables = read_tables(context, model.calibration)
    table = CalibrationTable.from_json(tables["scores"][score_name])
    confidence = params.risk_confidence or DEFAULT_CONFIDENCE
    selection = _POLICIES[policy](table, number, confidence)
    if tables["n_subjects"] is not None:
        selection = replace(selection, method=selection.method + ONE_PER_SUBJECT)
    if selection.status == "not_certifiable" and params.on_uncertified == "error":
        assert selection.planning is not None
        best, needed = selection.planning.best_certifiable_risk, selection.planning.samples_needed
        detail = not_certifiable(number, confidence, n=table.n, needed=needed, best=best)
        raise JobError(
            "not_certifiable",
            f"{detail}; allow a larger risk or a lower confidence, or calibrate on more samples",
        )
    return selection


def risk_upper(selection: Selection) -> float:
    """The bound on the selective risk that holds for the threshold, at the point's confidence.

    For a threshold found by a certified search, only the certified risk holds, not the point's own bound.
    """
    if selection.status == "certified" and selection.requested is not None:
        return selection.requested
    return selection.point.risk_upper


def describe(context: StageContext, selection: Selection) -> Json:
    """The selection as plain JSON values, as in the API: scores are probabilities, and `risk_upper` is the
    bound that holds.

    With a null threshold, nothing is answered if nothing could be certified, else every finite score is.
    """
    requested = getattr(context.job_params(PredictParams), selection.policy)
    described = selection.to_json() | {"requested": requested}
    threshold = described["point"]["threshold"]
    described["point"] |= {
        "threshold": None if threshold is None else math.exp(threshold),
        "risk_upper": risk_upper(selection),
    }
    return described


_POLICIES: dict[str, Callable[[CalibrationTable, float, float], Selection]] = {
    "coverage": lambda table, share, _: threshold_for_coverage(table, share),
    "max_risk": lambda table, risk, confidence: certify(table, max_risk=risk, confidence=confidence),
    # The parameter is a probability; internally, scores are log-probabilities.
    "min_score": lambda table, probability, _: threshold_for_score(table, math.log(probability)),
}
