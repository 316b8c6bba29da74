"""The reject option of a predict job: the policy in its parameters, applied to the model's calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np

from core.errors import JobError
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.job_params import PredictParams
from masktune.contract.predictions import ClassPromise, policy_fields
from masktune.contract.report.text import not_certifiable, uncertified_promises
from masktune.contract.report.text.certificates import uncalibrated
from masktune.contract.vocabulary import AbstainReason
from models.selective import (
    DEFAULT_CONFIDENCE,
    ONE_PER_SUBJECT,
    CalibrationTable,
    PredictionSets,
    Scored,
    Selection,
    certify,
    certify_classes,
    decide,
    threshold_for_coverage,
    threshold_for_score,
)
from models.types import Bools
from worker.results import Json, ModelSpec
from worker.stages.calibrate import DEFAULT_SCORE, Tables, read_tables
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
    fields = policy_fields(params)
    if not fields:
        return None
    confidence = params.risk_confidence or DEFAULT_CONFIDENCE
    if "by_class" in fields.values():
        tables = _tables_by_class(context, model)
        selection = _by_class(tables, model.classes, params, score_name)
    else:
        (name,), tables = fields, _tables(context, model)
        table = CalibrationTable.from_json(tables["scores"][score_name])
        selection = _POLICIES[name](table, getattr(params, name), confidence)
    if tables["n_subjects"] is not None:
        selection = replace(selection, method=selection.method + ONE_PER_SUBJECT)
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


def _tables_by_class(context: StageContext, model: ModelSpec) -> Tables:
    """Those of a calibration that promises by class and prediction sets can be made from."""
    tables = _tables(context, model)
    if not tables.get("true_log_probabilities"):
        raise JobError(
            "not_calibrated",
            f"the calibration of model {model.id} was made before promises by class and prediction sets "
            "were; evaluate it on a data set to calibrate it anew",
        )
    return tables


def _by_class(
    tables: Tables, classes: tuple[str, ...], params: PredictParams, score_name: ScoreName
) -> Selection:
    predicted, true = (
        {label: CalibrationTable.from_json(table) for label, table in by_class[score_name].items()}
        for by_class in (tables["predicted"], tables["classes"])
    )
    return certify_classes(
        classes,
        predicted,
        true,
        max_risk=params.max_class_risk,
        max_missed=params.max_missed,
        confidence=params.risk_confidence or DEFAULT_CONFIDENCE,
    )


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
    """Why each input (N,) is not answered, None if it is. Without a policy, every finite score is answered,
    as in the API, and else none that is `unlike` (N,) the training images."""
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


def prediction_sets(context: StageContext, model: ModelSpec) -> PredictionSets | None:
    """The sets that the job requests. Raises JobError if the model has no calibration to make them from."""
    coverage = context.job_params(PredictParams).set_coverage
    if coverage is None:
        return None
    tables = _tables_by_class(context, model)
    counts = {label: cast(int, table["n"]) for label, table in tables["classes"][DEFAULT_SCORE].items()}
    return PredictionSets.build(tables["true_log_probabilities"], counts, coverage)


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
    requested = selection.requested
    if selection.policy == "min_score":  # a probability; internally, scores are log-probabilities
        requested = context.job_params(PredictParams).min_score
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
