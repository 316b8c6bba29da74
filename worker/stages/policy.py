"""The reject option of a predict job: the policy in its parameters, applied to the model's calibration."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.errors import JobError
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.job_params import PredictParams
from masktune.contract.report.text import not_certifiable, uncalibrated, uncertified_promises
from masktune.contract.serving.predictions import ClassPromise, policy_fields
from masktune.contract.vocabulary import AbstainReason
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    PredictionSets,
    Scored,
    Selection,
    Share,
    decide,
    look_once,
    select,
)
from models.types import Bools, Labels
from worker.context import StageContext
from worker.results import Json, ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, Tables, read_tables


def score_name(context: StageContext, model: ModelSpec) -> ScoreName:
    """The requested score, else the one that the model was calibrated for."""
    calibrated = DEFAULT_SCORE if model.calibration is None else model.calibration.score_name
    return context.job_params(PredictParams).score or calibrated


def apply_policy(context: StageContext, model: ModelSpec, score_name: ScoreName) -> Selection | None:
    """The threshold that the policy selects, or None without a policy.

    Raises JobError if nothing can be certified and `on_uncertified` is "error".
    """
    params = context.job_params(PredictParams)
    fields = policy_fields(params)
    if not fields:
        return None
    (policy,), tables = {*fields.values()}, _tables(context, model)
    predicted, true = (
        {label: CalibrationTable.from_json(table) for label, table in by_class[score_name].items()}
        for by_class in (tables["predicted"], tables["classes"])
    )
    selection = select(
        policy,
        params.max_class_risk if policy == "by_class" else getattr(params, policy),
        CalibrationTable.from_json(tables["scores"][score_name]),
        predicted=predicted,
        true=true,
        classes=model.classes,
        of_subjects=tables["n_subjects"] is not None,
        max_missed=params.max_missed,
        confidence=params.risk_confidence or DEFAULT_CONFIDENCE,
    )
    if params.on_uncertified == "error" and (detail := _uncertified(selection)):
        raise JobError(
            "not_certifiable",
            f"{detail}; allow a larger risk or a lower confidence, or calibrate on more samples",
        )
    return selection


def _tables(context: StageContext, model: ModelSpec) -> Tables:
    if model.calibration is None or model.calibration_is_imported:
        detail = uncalibrated(model.id, imported=model.calibration_is_imported)
        raise JobError("not_calibrated", detail)
    return read_tables(context, model.calibration)


def _uncertified(selection: Selection) -> str:
    """What could not be certified, and what it takes; empty if all that was requested is certified."""
    if selection.planning is None:
        return uncertified_promises([ClassPromise(**promise.to_json()) for promise in selection.promises])
    point, planning = selection.point, selection.planning
    return not_certifiable(
        selection.requested or 0.0,
        point.confidence,
        n=point.n,
        needed=planning.samples_needed,
        best=planning.best_certifiable_risk,
    )


def abstain_reasons(
    scored: Scored, selection: Selection | None, unlike: Bools | None = None
) -> list[AbstainReason | None]:
    """Why each input (N,) is not answered, None if it is.
    Without a policy, every finite score is answered, as in the API, and else none that is `unlike` (N,) the
    training images."""
    thresholds: list[float | None] = [-math.inf if selection is None else selection.threshold]
    labels = np.zeros_like(scored.labels)
    if selection is not None and selection.class_thresholds is not None:
        thresholds, labels = [*selection.class_thresholds.values()], scored.labels
    least = np.array([math.inf if threshold is None else threshold for threshold in thresholds])
    reasons = [
        AbstainReason.NO_CERTIFIED_THRESHOLD if threshold is None else AbstainReason.BELOW_THRESHOLD
        for threshold in thresholds
    ]
    answered = decide(scored.scores, least[labels])
    chosen = [None if yes else reasons[label] for yes, label in zip(answered, labels, strict=True)]
    if selection is None or unlike is None:
        return chosen
    return [
        AbstainReason.UNLIKE_TRAINING if is_unlike else reason
        for is_unlike, reason in zip(unlike, chosen, strict=True)
    ]


COMPARED = ["row", "score", "unlike_training", "agreement"]
"""Columns of predictions that `drift` reads."""


def drift(
    context: StageContext, model: ModelSpec, score_name: ScoreName, predictions: pa.Table, rows: Labels
) -> Json | None:
    """Whether these ascending `rows` are like the calibration split, by their `predictions`; None without a
    calibration of this score."""
    calibration = None if model.calibration_is_imported else model.calibration
    tables = None if calibration is None else read_tables(context, calibration)
    if tables is None or score_name not in tables["scores"]:
        return None
    independent = pa.array(rows[context.store.independent(rows)])
    counted = predictions.filter(pc.is_in(predictions["row"], value_set=independent))
    unlike = counted["unlike_training"].fill_null(False).to_numpy()
    agreement = tables.get("agreement")
    look = look_once(
        CalibrationTable.from_json(tables["scores"][score_name]),
        None if agreement is None else Share(agreement["disagree"], agreement["n"]),
        np.where(unlike, math.nan, pc.ln(counted["score"]).to_numpy()),
        pc.invert(counted["agreement"].drop_null()).to_numpy(),
    )
    tell = "no_sign_of_drift" if any(test.decidable for test in look.tests) else "too_few"
    return {"status": "drifted" if look.drifted else tell} | look.to_json()


def prediction_sets(context: StageContext, model: ModelSpec) -> PredictionSets | None:
    """The sets that the job requests."""
    coverage = context.job_params(PredictParams).set_coverage
    if coverage is None:
        return None
    tables = _tables(context, model)
    counts = {label: cast(int, table["n"]) for label, table in tables["classes"][DEFAULT_SCORE].items()}
    return PredictionSets.build(tables["true_log_probabilities"], counts, coverage)


def describe(context: StageContext, selection: Selection) -> Json:
    """The selection as plain JSON values, as in the API: scores are probabilities, and `risk_upper` is the
    bound that holds.

    With a null threshold, nothing is answered if nothing could be certified, else every finite score is.
    """
    requested = selection.requested
    if selection.policy == "min_score":  # a probability; internally, scores are log-probabilities
        requested = context.job_params(PredictParams).min_score
    described = selection.to_json() | {"requested": requested}
    threshold = described["point"]["threshold"]
    described["point"] |= {
        "threshold": None if threshold is None else math.exp(threshold),
        "risk_upper": selection.risk_upper,
    }
    return described
