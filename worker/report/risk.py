"""Selective risk: each model's risk–coverage curve, and what its calibration split certifies.

One image per subject counts, drawn at random, and identical images count once. Thresholds and scores are
probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.report.probabilities import (
    Certificate,
    Certificates,
    Reliability,
    RiskCurve,
    RiskCurvePoint,
    SimultaneousCertificate,
    Temperature,
)
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.evaluation.reliability import calibration_error
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    best_certifiable_risk,
    certify,
    risk_coverage,
    score,
)
from worker.context import StageContext
from worker.networks.features import of_rows
from worker.report.arms import clusters_of
from worker.report.contexts import FiguresContext
from worker.results import CalibrateResult, ModelSpec
from worker.stages.calibrate import SPLIT, SampleCounts, Tables, read_tables, sample_counts

SCORE: ScoreName = "max_softmax"
"""The model's own probability of its answer, at its temperature: the only score that every arm has."""
POINTS = 50
TARGETS = (0.01, 0.02, 0.05, 0.1)
"""Risks fixed in advance, before any result was seen."""


def risk_sections(
    context: FiguresContext, models: Mapping[Arm, ModelSpec], logits: Mapping[str, Mapping[Arm, Logits]]
) -> dict[str, Any]:
    """The sections of a report about the risk of the answers, and about the probabilities with them."""
    files = {arm: tables for arm, model in models.items() if (tables := _tables(context, model)) is not None}
    calibrated = {arm: CalibrationTable.from_json(tables["scores"][SCORE]) for arm, tables in files.items()}
    temperatures = {arm: tables["temperature"] for arm, tables in files.items()}
    counts = {
        arm: SampleCounts(tables["n_subjects"], tables["copies_left_out"], tables["same_subject_left_out"])
        for arm, tables in files.items()
    }
    curves = {
        split: {
            arm: _measured_curve(context.store, of_arm, temperatures[arm]["value"] if arm in files else 1.0)
            for arm, of_arm in by_arm.items()
        }
        for split, by_arm in logits.items()
    }
    if calibrated:
        of_calibration = {arm: _curve(table, counts[arm]) for arm, table in calibrated.items()}
        curves = {SPLIT: of_calibration} | curves
    return {
        "risk_coverage": curves,
        "certificates": {
            arm: _certified(table, counts[arm], models=len(calibrated)) for arm, table in calibrated.items()
        },
        "temperature": {arm: Temperature.model_validate(fitted) for arm, fitted in temperatures.items()},
        "reliability_at_temperature": {
            split: {
                arm: _at_temperature(context.store, of_arm, temperatures[arm]["value"])
                for arm, of_arm in by_arm.items()
                if arm in temperatures
            }
            for split, by_arm in logits.items()
        },
    }


def _tables(context: StageContext, model: ModelSpec) -> Tables | None:
    """The model's tables from this job, else from its own calibration; only if made on the same data set."""
    calibrated = context.spec.stage_result(CalibrateResult)
    own = None if model.calibration_is_imported else model.calibration
    calibration = (calibrated and calibrated.calibrations.get(model.id)) or own
    if calibration is None:
        return None
    try:
        tables = read_tables(context, calibration)
    except (ArtifactMissing, FileNotFoundError):
        return None
    dataset = context.spec.dataset
    return tables if dataset is not None and tables["dataset"] == dataset.id else None


def _at_temperature(store: Store, logits: Logits, temperature: float) -> Reliability | None:
    """Reliability of the probabilities as predictions show them."""
    scaled, clusters = (logits.logits / temperature).astype(np.float32), clusters_of(store, logits.rows)
    error = calibration_error(scaled, logits.labels, clusters=clusters)
    return None if error is None else Reliability.model_validate(error)


def _measured_curve(store: Store, logits: Logits, temperature: float) -> RiskCurve:
    rows = logits.rows[store.independent(logits.rows)]
    independent = of_rows(logits, rows)
    scored = score(SCORE, independent.logits, temperature=temperature)
    table = CalibrationTable.build(scored.scores, scored.labels == independent.labels)
    return _curve(table, sample_counts(store, logits.rows, rows))


def _curve(table: CalibrationTable, counts: SampleCounts) -> RiskCurve:
    curve = risk_coverage(table, points=POINTS)
    points = [replace(point, threshold=math.exp(point.threshold)) for point in curve.points]
    return RiskCurve(
        score_name=SCORE,
        points=[RiskCurvePoint.model_validate(point) for point in points],
        aurc=curve.aurc,
        augrc=curve.augrc,
        confidence=curve.confidence,
        n=curve.n,
        **counts._asdict(),
    )


def _certified(table: CalibrationTable, counts: SampleCounts, *, models: int) -> Certificates:
    return Certificates(
        n=table.n,
        **counts._asdict(),
        confidence=DEFAULT_CONFIDENCE,
        models=models,
        score_name=SCORE,
        best_certifiable_risk=best_certifiable_risk(table, DEFAULT_CONFIDENCE),
        targets=[_certificate(table, max_risk, (1 - DEFAULT_CONFIDENCE) / models) for max_risk in TARGETS],
    )


def _certificate(table: CalibrationTable, max_risk: float, level: float) -> Certificate:
    """At this level alone, and for all risks at once (Bonferroni)."""
    alone, simultaneous = (
        certify(table, max_risk=max_risk, confidence=1 - one) for one in (level, level / len(TARGETS))
    )
    point = alone.point
    return Certificate(
        max_risk=max_risk,
        status="certified" if alone.status == "certified" else "not_certifiable",
        coverage=point.coverage,
        coverage_low=point.coverage_interval.low,
        coverage_high=point.coverage_interval.high,
        answered=point.answered,
        errors=point.errors,
        risk_upper=alone.risk_upper,
        samples_needed=alone.planning and alone.planning.samples_needed,
        simultaneous=SimultaneousCertificate(
            status="certified" if simultaneous.status == "certified" else "not_certifiable",
            coverage=simultaneous.point.coverage,
            answered=simultaneous.point.answered,
            errors=simultaneous.point.errors,
            samples_needed=simultaneous.planning and simultaneous.planning.samples_needed,
        ),
    )
