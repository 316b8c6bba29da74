"""The reject option of a batch: the policy in the job's parameters, applied to the model's calibration."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from core.errors import JobError
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    ScoreName,
    Selection,
    certify,
    threshold_for_coverage,
    threshold_for_score,
)
from worker.spec import ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, TABLES
from worker.stages.context import StageContext


def score_name(context: StageContext, model: ModelSpec) -> ScoreName:
    """The score asked for, else the one that the model was calibrated for."""
    asked: ScoreName | None = context.spec.params.get("score")
    named: ScoreName = asked or (model.calibration or {}).get("score_name") or DEFAULT_SCORE
    if named != DEFAULT_SCORE and model.erm_id is None:
        raise JobError("score_needs_erm", f"{named} compares with an ERM model, and {model.id} has none")
    return named


def selection(context: StageContext, model: ModelSpec, score_name: ScoreName) -> Selection | None:
    """The threshold of the policy; None without one. JobError where it is refused by the job's own rule."""
    params = context.spec.params
    asked = [name for name in _POLICIES if params.get(name) is not None]
    if not asked:
        return None
    if len(asked) > 1:
        raise JobError("invalid_parameters", f"at most one policy: {' and '.join(asked)} were given")
    if model.calibration is None:
        raise JobError(
            "not_calibrated",
            f"model {model.id} has no calibration; POST /jobs/evaluate with it and a data set makes one",
        )
    raw = json.loads((context.artifacts.folder(model.calibration["artifact"]) / TABLES).read_text())
    table = CalibrationTable.from_json(raw["scores"][score_name])
    confidence = params.get("risk_confidence") or DEFAULT_CONFIDENCE
    chosen = _POLICIES[asked[0]](table, float(params[asked[0]]), confidence)
    if chosen.status == "not_certifiable" and params.get("on_uncertified") == "error":
        raise JobError(
            "not_certifiable",
            f"no threshold keeps the risk at {chosen.requested} with {table.n} calibration samples; "
            f"{_possible(chosen)}; ask for a larger risk, a lower confidence, or calibrate on more samples",
        )
    return chosen


def risk_upper(chosen: Selection) -> float:
    """The bound on the selective risk that holds for the threshold, at the point's confidence.

    One that was searched for has no bound after the fact: its certificate is what holds.
    """
    if chosen.status == "certified" and chosen.requested is not None:
        return chosen.requested
    return chosen.point.risk_upper


def told(context: StageContext, chosen: Selection) -> dict[str, Any]:
    """What `selection` chose as plain JSON values, told as everywhere outside: scores are probabilities, and
    `risk_upper` is the bound that holds.

    A threshold of null answers nothing where nothing could be certified, and else every finite score.
    """
    value = chosen.to_json() | {"requested": context.spec.params[chosen.policy]}
    threshold = value["point"]["threshold"]
    value["point"] |= {
        "threshold": None if threshold is None else math.exp(threshold),
        "risk_upper": risk_upper(chosen),
    }
    return value


def _possible(chosen: Selection) -> str:
    """What could be certified instead, and what the wish would take."""
    assert chosen.planning is not None
    best, needed = chosen.planning.best_certifiable_risk, chosen.planning.samples_needed
    least = "they certify no risk under 1" if best is None else f"the least that they certify is {best:.4g}"
    return least + ("" if needed is None else f", and about {needed} samples would do")


def _coverage(table: CalibrationTable, value: float, confidence: float) -> Selection:
    return threshold_for_coverage(table, value)


def _max_risk(table: CalibrationTable, value: float, confidence: float) -> Selection:
    return certify(table, max_risk=value, confidence=confidence)


def _min_score(table: CalibrationTable, value: float, confidence: float) -> Selection:
    """Outside a score is a probability, inside its logarithm."""
    return threshold_for_score(table, math.log(value))


_POLICIES: dict[str, Callable[[CalibrationTable, float, float], Selection]] = {
    "coverage": _coverage,
    "max_risk": _max_risk,
    "min_score": _min_score,
}
