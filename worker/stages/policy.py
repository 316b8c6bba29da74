"""The reject option of a predict job: the policy in its parameters, applied to the model's calibration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from core.errors import JobError
from masktune.contract.hyperparameters import ScoreName
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    Selection,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from worker.protocol import ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, TABLES
from worker.stages.context import StageContext


def score_name(context: StageContext, model: ModelSpec) -> ScoreName:
    """The requested score, else the one that the model was calibrated for."""
    asked: ScoreName | None = context.spec.params.get("score")
    named: ScoreName = asked or (model.calibration or {}).get("score_name") or DEFAULT_SCORE
    if named != DEFAULT_SCORE and model.erm_id is None:
        raise JobError("score_needs_erm", f"{named} needs an ERM model, and model {model.id} has none")
    return named


def selection(context: StageContext, model: ModelSpec, score_name: ScoreName) -> Selection | None:
    """The threshold that the policy selects, or None without a policy.

    Raises JobError if the policy cannot be applied, or if nothing can be certified and `on_uncertified` is
    "error".
    """
    params = context.spec.params
    asked = [name for name in _POLICIES if params.get(name) is not None]
    if not asked:
        return None
    if len(asked) > 1:
        raise JobError("invalid_parameters", f"give at most one policy, not {' and '.join(asked)}")
    if model.calibration is None:
        raise JobError(
            "not_calibrated",
            f"model {model.id} has no calibration; make one with POST /jobs/evaluate and a data set",
        )
    raw = json.loads((context.artifacts.folder(model.calibration["artifact"]) / TABLES).read_text())
    table = CalibrationTable.from_json(raw["scores"][score_name])
    confidence = params.get("risk_confidence") or DEFAULT_CONFIDENCE
    chosen = _POLICIES[asked[0]](table, float(params[asked[0]]), confidence)
    if chosen.status == "not_certifiable" and params.get("on_uncertified") == "error":
        raise JobError(
            "not_certifiable",
            f"no threshold can be certified for a risk of {chosen.requested} with {table.n} calibration "
            f"samples; {_possible(chosen)}; allow a larger risk or a lower confidence, or calibrate on more "
            "samples",
        )
    return chosen


def risk_upper(chosen: Selection) -> float:
    """The bound on the selective risk that holds for the threshold, at the point's confidence.

    For a threshold found by a certified search, only the certified risk holds, not the point's own bound.
    """
    if chosen.status == "certified" and chosen.requested is not None:
        return chosen.requested
    return chosen.point.risk_upper


def told(context: StageContext, chosen: Selection) -> dict[str, Any]:
    """The selection as plain JSON values, as in the API: scores are probabilities, and `risk_upper` is the
    bound that holds.

    With a null threshold, nothing is answered if nothing could be certified, else every finite score is.
    """
    value = chosen.to_json() | {"requested": context.spec.params[chosen.policy]}
    threshold = value["point"]["threshold"]
    value["point"] |= {
        "threshold": None if threshold is None else math.exp(threshold),
        "risk_upper": risk_upper(chosen),
    }
    return value


def _possible(chosen: Selection) -> str:
    """What could be certified instead, and how many samples the requested risk would take."""
    assert chosen.planning is not None
    best, needed = chosen.planning.best_certifiable_risk, chosen.planning.samples_needed
    least = "they certify no risk below 1" if best is None else f"the lowest they certify is {best:.4g}"
    return least + ("" if needed is None else f", and about {needed} samples would be enough")


def _coverage(table: CalibrationTable, value: float, confidence: float) -> Selection:
    return threshold_for_coverage(table, value)


def _max_risk(table: CalibrationTable, value: float, confidence: float) -> Selection:
    return certify(table, max_risk=value, confidence=confidence)


def _min_score(table: CalibrationTable, value: float, confidence: float) -> Selection:
    """`value` is a probability; internally, scores are log-probabilities."""
    return threshold_for_score(table, math.log(value))


_POLICIES: dict[str, Callable[[CalibrationTable, float, float], Selection]] = {
    "coverage": _coverage,
    "max_risk": _max_risk,
    "min_score": _min_score,
}
