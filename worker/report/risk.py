"""Selective risk: each model's risk–coverage curve, and what its calibration split certifies.

The report's sections `risk_coverage`,
{split: {arm: {"score_name", "copies_left_out", …models.selective.RiskCoverage}}} with the calibration
split among the splits, and `certified`,
{arm: {"n", "copies_left_out", "confidence", "score_name", "best_certifiable_risk", "wishes": [{"max_risk",
"status", "coverage", "coverage_low", "coverage_high", "answered", "errors", "risk_upper",
"together": {"status", "coverage", "answered", "errors"}}]}}. Each certificate holds by itself at
`confidence`; those of `together` hold simultaneously at it, so that one may be chosen after seeing them.

Identical images count once; `copies_left_out` is null if the calibration does not record it. Thresholds and
scores are probabilities. If the calibration has a temperature: `temperature` {arm: {"value", "split",
"n"}} and `reliability_shown`, like the report's `reliability`, but for the probabilities in predictions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.artifacts import ArtifactMissing
from masktune.contract.vocabulary import Arm, Stage
from models.evaluation.metrics import Logits
from models.evaluation.reliability import calibration_error
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    ScoreName,
    best_certifiable_risk,
    certify,
    risk_coverage,
    score,
)
from worker.protocol import ModelSpec
from worker.report.arms import copies_in, without_copies
from worker.stages.calibrate import SPLIT, TABLES
from worker.stages.context import StageContext
from worker.stages.policy import risk_upper

SCORE: ScoreName = "max_softmax"
"""The model's own probability of its answer: the only score that every arm has."""
POINTS = 50
WISHES = (0.01, 0.02, 0.05, 0.1)
"""Risks fixed in advance, before any result was seen. Each certificate holds by itself, not all at once."""
TOGETHER = 1 - (1 - DEFAULT_CONFIDENCE) / len(WISHES)
"""The confidence per certificate at which all hold at once at the default confidence (Bonferroni)."""


def make_risk(
    context: StageContext, models: Mapping[Arm, ModelSpec], logits: Mapping[str, Mapping[Arm, Logits]]
) -> dict[str, Any]:
    """The report sections of this module, with each model's own probability of its answer as the score."""
    made = {arm: raw for arm, model in models.items() if (raw := _calibration(context, model)) is not None}
    calibrated = {arm: CalibrationTable.from_json(raw["scores"][SCORE]) for arm, raw in made.items()}
    temperatures = {arm: raw["temperature"] for arm, raw in made.items() if raw.get("temperature")}
    left_out = {arm: raw.get("copies_left_out") for arm, raw in made.items()}
    curves = {
        split: {
            arm.value: _curve(_measured(context, said), copies_in(context, said.rows))
            for arm, said in by_arm.items()
        }
        for split, by_arm in logits.items()
    }
    if calibrated:
        of_calibration = {arm.value: _curve(table, left_out[arm]) for arm, table in calibrated.items()}
        curves = {SPLIT: of_calibration} | curves
    return {
        "risk_coverage": curves,
        "certified": {arm.value: _certified(table, left_out[arm]) for arm, table in calibrated.items()},
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
    """The model's tables from this job, else from its own calibration; only if made on the same data set."""
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


def _as_shown(said: Logits, temperature: float) -> dict[str, Any] | None:
    """Reliability of the probabilities as predictions show them."""
    found = calibration_error((said.logits / temperature).astype(np.float32), said.labels)
    return None if found is None else found.to_json()


def _measured(context: StageContext, said: Logits) -> CalibrationTable:
    said = without_copies(context, said)
    found = score(SCORE, said.logits)
    return CalibrationTable.build(found.scores, found.labels == said.labels)


def _curve(table: CalibrationTable, left_out: int | None) -> dict[str, Any]:
    value = risk_coverage(table, points=POINTS).to_json()
    for point in value["points"]:
        point["threshold"] = math.exp(point["threshold"])
    return {"score_name": SCORE, "copies_left_out": left_out} | value


def _certified(table: CalibrationTable, left_out: int | None) -> dict[str, Any]:
    return {
        "n": table.n,
        "copies_left_out": left_out,
        "confidence": DEFAULT_CONFIDENCE,
        "score_name": SCORE,
        "best_certifiable_risk": best_certifiable_risk(table, DEFAULT_CONFIDENCE),
        "wishes": [_wish(table, wish) for wish in WISHES],
    }


def _wish(table: CalibrationTable, wish: float) -> dict[str, Any]:
    alone, together = (certify(table, max_risk=wish, confidence=c) for c in (DEFAULT_CONFIDENCE, TOGETHER))
    point = alone.point
    return {
        "max_risk": wish,
        "status": alone.status,
        "coverage": point.coverage,
        "coverage_low": point.coverage_interval.low,
        "coverage_high": point.coverage_interval.high,
        "answered": point.answered,
        "errors": point.errors,
        "risk_upper": risk_upper(alone),
        "together": {
            "status": together.status,
            "coverage": together.point.coverage,
            "answered": together.point.answered,
            "errors": together.point.errors,
        },
    }
