"""May the models be trusted? Risk over coverage of each, and what their calibration split certifies.

The report's sections `risk_coverage`, {split: {arm: {"score_name", …models.selective.RiskCoverage}}}
with the calibration split among the splits, and `certified`,
{arm: {"n", "confidence", "score_name", "best_certifiable_risk", "wishes": [{"max_risk", "status", "coverage",
"answered", "errors", "risk_upper"}]}}. Thresholds and scores are probabilities. Where the calibration
has a temperature: `temperature` {arm: {"value", "split", "n"}} and `reliability_shown`, as the
report's `reliability`, of the probabilities that predictions show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.artifacts import ArtifactMissing
from core.vocabulary import Arm, Stage
from models.evaluate import Logits, calibration_error
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    ScoreName,
    best_certifiable_risk,
    certify,
    risk_coverage,
    score,
)
from worker.spec import ModelSpec
from worker.stages.calibrate import SPLIT, TABLES
from worker.stages.context import StageContext

SCORE: ScoreName = "max_softmax"
"""A model's own probability of its answer: the one score that every arm has."""
POINTS = 50
WISHES = (0.01, 0.02, 0.05, 0.1)
"""Risks chosen before anybody looked. Each certificate is a promise of its own, not all of them together."""


def make_risk(
    context: StageContext, models: Mapping[Arm, ModelSpec], logits: Mapping[str, Mapping[Arm, Logits]]
) -> dict[str, Any]:
    """The sections of this module, each model by its own probability of its answer."""
    made = {arm: raw for arm, model in models.items() if (raw := _calibration(context, model)) is not None}
    calibrated = {arm: CalibrationTable.from_json(raw["scores"][SCORE]) for arm, raw in made.items()}
    temperatures = {arm: raw["temperature"] for arm, raw in made.items() if raw.get("temperature")}
    measured = {
        split: {arm: _measured(said) for arm, said in by_arm.items()} for split, by_arm in logits.items()
    }
    tables = ({SPLIT: calibrated} if calibrated else {}) | measured
    return {
        "risk_coverage": {
            split: {arm.value: _curve(table) for arm, table in by_arm.items()}
            for split, by_arm in tables.items()
        },
        "certified": {arm.value: _certified(table) for arm, table in calibrated.items()},
        "temperature": {arm.value: found for arm, found in temperatures.items()},
        "reliability_shown": {
            split: {
                arm.value: _as_shown(said, temperatures[arm]["value"])
                for arm, said in by_arm.items()
                if arm in temperatures
            }
            for split, by_arm in logits.items()
        },
    }


def _calibration(context: StageContext, model: ModelSpec) -> dict[str, Any] | None:
    """What this job calibrated, else what the model brings from the same data set."""
    made = context.spec.done.get(Stage.CALIBRATE, {}).get("calibrations", {}).get(model.id)
    calibration = made or model.calibration
    if calibration is None:
        return None
    try:
        raw: dict[str, Any] = json.loads(
            (context.artifacts.folder(calibration["artifact"]) / TABLES).read_text()
        )
    except (ArtifactMissing, FileNotFoundError):
        return None
    dataset = context.spec.dataset
    return raw if dataset is not None and raw["dataset"] == dataset.id else None


def _as_shown(said: Logits, temperature: float) -> dict[str, Any]:
    """Reliability of the probabilities that a prediction shows."""
    return calibration_error((said.logits / temperature).astype(np.float32), said.labels).to_json()


def _measured(said: Logits) -> CalibrationTable:
    found = score(SCORE, said.logits)
    return CalibrationTable.build(found.scores, found.labels == said.labels)


def _curve(table: CalibrationTable) -> dict[str, Any]:
    value = risk_coverage(table, points=POINTS).to_json()
    for point in value["points"]:
        point["threshold"] = math.exp(point["threshold"])
    return {"score_name": SCORE} | value


def _certified(table: CalibrationTable) -> dict[str, Any]:
    wishes = []
    for wish in WISHES:
        found = certify(table, max_risk=wish)
        point = found.point
        wishes.append(
            {
                "max_risk": wish,
                "status": found.status,
                "coverage": point.coverage,
                "coverage_low": point.coverage_interval.low,
                "coverage_high": point.coverage_interval.high,
                "answered": point.answered,
                "errors": point.errors,
                "risk_upper": point.risk_upper,
            }
        )
    return {
        "n": table.n,
        "confidence": DEFAULT_CONFIDENCE,
        "score_name": SCORE,
        "best_certifiable_risk": best_certifiable_risk(table, DEFAULT_CONFIDENCE),
        "wishes": wishes,
    }
