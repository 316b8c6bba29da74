"""Selective risk: each model's risk–coverage curve, and what its calibration split certifies.

Identical images count once. Thresholds and scores are probabilities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from core.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.report.probabilities import (
    Certificate,
    Certificates,
    CertificateStatus,
    Reliability,
    RiskCurve,
    RiskCurvePoint,
    SimultaneousCertificate,
    Temperature,
)
from masktune.contract.vocabulary import Arm, Stage
from models.evaluation.metrics import Logits
from models.evaluation.reliability import calibration_error
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    Selection,
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
TARGETS = (0.01, 0.02, 0.05, 0.1)
"""Risks fixed in advance, before any result was seen. Each certificate holds by itself, not all at once."""
SIMULTANEOUS = 1 - (1 - DEFAULT_CONFIDENCE) / len(TARGETS)
"""The confidence per certificate at which all hold at once at the default confidence (Bonferroni)."""


class RiskSections(NamedTuple):
    """The sections of a report about the risk of the answers, and about the probabilities with them."""

    risk_coverage: dict[str, dict[Arm, RiskCurve]]
    certificates: dict[Arm, Certificates]
    temperature: dict[Arm, Temperature]
    reliability_at_temperature: dict[str, dict[Arm, Reliability | None]]


def make_risk(
    context: StageContext, models: Mapping[Arm, ModelSpec], logits: Mapping[str, Mapping[Arm, Logits]]
) -> RiskSections:
    """The report sections of this module, with each model's own probability of its answer as the score."""
    made = {arm: raw for arm, model in models.items() if (raw := _calibration(context, model)) is not None}
    calibrated = {arm: CalibrationTable.from_json(raw["scores"][SCORE]) for arm, raw in made.items()}
    temperatures = {arm: raw["temperature"] for arm, raw in made.items() if raw.get("temperature")}
    left_out = {arm: raw.get("copies_left_out") for arm, raw in made.items()}
    curves = {
        split: {
            arm: _curve(_measured(context, said), copies_in(context, said.rows))
            for arm, said in by_arm.items()
        }
        for split, by_arm in logits.items()
    }
    if calibrated:
        of_calibration = {arm: _curve(table, left_out[arm]) for arm, table in calibrated.items()}
        curves = {SPLIT: of_calibration} | curves
    return RiskSections(
        risk_coverage=curves,
        certificates={arm: _certified(table, left_out[arm]) for arm, table in calibrated.items()},
        temperature={arm: Temperature.model_validate(fitted) for arm, fitted in temperatures.items()},
        reliability_at_temperature={
            split: {
                arm: _at_temperature(said, temperatures[arm]["value"])
                for arm, said in by_arm.items()
                if arm in temperatures
            }
            for split, by_arm in logits.items()
        },
    )


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


def _at_temperature(said: Logits, temperature: float) -> Reliability | None:
    """Reliability of the probabilities as predictions show them."""
    found = calibration_error((said.logits / temperature).astype(np.float32), said.labels)
    return None if found is None else Reliability.model_validate(found)


def _measured(context: StageContext, said: Logits) -> CalibrationTable:
    said = without_copies(context, said)
    found = score(SCORE, said.logits)
    return CalibrationTable.build(found.scores, found.labels == said.labels)


def _curve(table: CalibrationTable, left_out: int | None) -> RiskCurve:
    curve = risk_coverage(table, points=POINTS)
    points = [replace(point, threshold=math.exp(point.threshold)) for point in curve.points]
    return RiskCurve(
        score_name=SCORE,
        copies_left_out=left_out,
        points=[RiskCurvePoint.model_validate(point) for point in points],
        aurc=curve.aurc,
        augrc=curve.augrc,
        confidence=curve.confidence,
        n=curve.n,
    )


def _certified(table: CalibrationTable, left_out: int | None) -> Certificates:
    return Certificates(
        n=table.n,
        copies_left_out=left_out,
        confidence=DEFAULT_CONFIDENCE,
        score_name=SCORE,
        best_certifiable_risk=best_certifiable_risk(table, DEFAULT_CONFIDENCE),
        targets=[_certificate(table, max_risk) for max_risk in TARGETS],
    )


def _certificate(table: CalibrationTable, max_risk: float) -> Certificate:
    alone, simultaneous = (
        certify(table, max_risk=max_risk, confidence=c) for c in (DEFAULT_CONFIDENCE, SIMULTANEOUS)
    )
    point = alone.point
    return Certificate(
        max_risk=max_risk,
        status=_status(alone),
        coverage=point.coverage,
        coverage_low=point.coverage_interval.low,
        coverage_high=point.coverage_interval.high,
        answered=point.answered,
        errors=point.errors,
        risk_upper=risk_upper(alone),
        simultaneous=SimultaneousCertificate(
            status=_status(simultaneous),
            coverage=simultaneous.point.coverage,
            answered=simultaneous.point.answered,
            errors=simultaneous.point.errors,
        ),
    )


def _status(selection: Selection) -> CertificateStatus:
    return "certified" if selection.status == "certified" else "not_certifiable"
