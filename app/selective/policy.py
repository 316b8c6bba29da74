"""The reject option in the API: from query parameters to a threshold, from scores to decisions.

Internally, scores are log-probabilities (`models.selective.scores`); in the API they are the probabilities
e^score, in 0..1. Decisions use the logarithms, which still differ where probabilities round to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.inference import Calibration
from app.selective import calibrations
from core.errors import FieldError, InvalidInput, NotCertifiable
from core.storage.artifacts import Artifacts
from core.tables import ModelRow
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.report.text import uncertified
from masktune.contract.serving import predictions
from masktune.contract.serving.predictions import CERTIFIED_POLICIES, PolicyName, PolicyQuery, policy_fields
from masktune.contract.serving.reject_option import RiskCoverageQuery
from masktune.contract.vocabulary import AbstainReason, Decision, SelectionStatus
from models import selective
from models.selective import DEFAULT_CONFIDENCE, Selection


@dataclass(frozen=True)
class PolicyRequest:
    """A policy as requested.
    `number` is a share of inputs, a risk, or a score in 0..1; by class, it is the risk of each, if that is
    requested."""

    policy: PolicyName
    number: float | None = None
    confidence: float = DEFAULT_CONFIDENCE
    max_missed: float | None = None


@dataclass(frozen=True)
class AppliedPolicy:
    """A policy, applied.
    `threshold` is a log-probability: None answers nothing, −inf all finite scores. By class,
    `class_thresholds` has one for the answers of each class."""

    threshold: float | None
    selection: predictions.Selection
    class_thresholds: Mapping[str, float | None] | None = None

    def decide(
        self, score: float, label: str, *, unlike: bool = False
    ) -> tuple[Decision, AbstainReason | None]:
        """Decide on an input with this log-probability for this label.
        A non-finite score abstains, and with a policy an input that is `unlike` the training images."""
        if unlike and self.selection.policy != "none":
            return Decision.ABSTAIN, AbstainReason.UNLIKE_TRAINING
        threshold = self.threshold if self.class_thresholds is None else self.class_thresholds[label]
        if threshold is None:
            return Decision.ABSTAIN, AbstainReason.NO_CERTIFIED_THRESHOLD
        if math.isfinite(score) and score >= threshold:
            return Decision.ANSWER, None
        return Decision.ABSTAIN, AbstainReason.BELOW_THRESHOLD


class Choice(NamedTuple):
    """A policy, and the calibration that it rests on, if the model has one."""

    policy: AppliedPolicy
    calibration: Calibration | None


def one_policy(query: PolicyQuery | RiskCoverageQuery) -> PolicyName | None:
    """Return the name of the policy that the query gives, if any. Raises `InvalidInput` for several."""
    fields = policy_fields(query)
    policies = {*fields.values()}
    if len(policies) > 1:
        raise InvalidInput(
            f"give at most one policy, not {' and '.join(fields)}",
            errors=tuple(
                FieldError(f"?{name}", "one-policy", "leave out all policies but one") for name in fields
            ),
        )
    return next(iter(policies), None)


def requested_policy(query: PolicyQuery) -> PolicyRequest:
    """Return the policy of a request. Raises `InvalidInput` for several, or a confidence without a risk."""
    name = one_policy(query)
    if query.risk_confidence is not None and name not in CERTIFIED_POLICIES:
        raise InvalidInput.field(
            "?risk_confidence",
            "needs-max-risk",
            "risk_confidence is only for use with max_risk, max_class_risk or max_missed",
        )
    confidence = query.risk_confidence or DEFAULT_CONFIDENCE
    if name is None:
        return PolicyRequest("none")
    if name == "by_class":
        return PolicyRequest(name, query.max_class_risk, confidence, query.max_missed)
    return PolicyRequest(name, getattr(query, name), confidence)


def apply_policy(
    request: PolicyRequest, calibration: Calibration | None, score_name: ScoreName
) -> AppliedPolicy:
    """Choose the threshold. Only `min_score` and no policy work without a calibration."""
    if calibration is None:
        return _uncalibrated(request, score_name)
    return _calibrated(request, calibration, score_name)


def choose(query: PolicyQuery, model: ModelRow, artifacts: Artifacts, *, calibrated: bool = False) -> Choice:
    """Apply the policy.

    Raises `InvalidInput`, `Conflict` if it needs a calibration, or that must be `calibrated`, and there is
    none, and `ArtifactMissing` if the model was deleted or calibrated again since its row was read.
    """
    request = requested_policy(query)
    optional = request.policy in ("none", "min_score") and not calibrated
    find = calibrations.find if optional else calibrations.get
    calibration = find(model, artifacts)
    return Choice(
        apply_policy(request, calibration, calibrations.score_name(query.score, model)), calibration
    )


def require_certified(policy: AppliedPolicy) -> None:
    """Raise `NotCertifiable` if nothing could be certified; it says which risk could be."""
    if detail := uncertified(policy.selection):
        raise NotCertifiable(detail, extra={"selection": policy.selection.model_dump(mode="json")})


def probability(log_probability: float | None) -> float | None:
    """Return e^score for the API; None for None and NaN."""
    if log_probability is None or math.isnan(log_probability):
        return None
    return math.exp(log_probability)


@lru_cache(maxsize=4096)
def _calibrated(request: PolicyRequest, calibration: Calibration, score_name: ScoreName) -> AppliedPolicy:
    # Cached: finding out what could be certified instead takes a hundred passes over the table.
    selection = select(request, calibration, score_name)
    planning = selection.planning
    answer = predictions.Selection(
        policy=request.policy,
        requested=request.number,
        status=SelectionStatus(selection.status),
        threshold=None if request.policy == "none" else probability(selection.threshold),
        promises=promises(selection),
        score_name=score_name,
        calibration=_use(selection, calibration),
        best_certifiable_risk=planning and planning.best_certifiable_risk,
        samples_at_least=planning and planning.samples_at_least,
        samples_needed=planning and planning.samples_needed,
    )
    return AppliedPolicy(selection.threshold, answer, selection.class_thresholds)


def promises(selection: Selection) -> list[predictions.ClassPromise]:
    """Return what is promised by class, for the API."""
    return [predictions.ClassPromise(**promise.to_json()) for promise in selection.promises]


def _uncalibrated(request: PolicyRequest, score_name: ScoreName) -> AppliedPolicy:
    statuses = {"none": SelectionStatus.NONE, "min_score": SelectionStatus.RAW_THRESHOLD}
    answer = predictions.Selection(
        policy=request.policy,
        requested=request.number,
        status=statuses[request.policy],
        threshold=request.number,
        score_name=score_name,
        calibration=None,
    )
    return AppliedPolicy(-math.inf if request.number is None else math.log(request.number), answer)


def select(request: PolicyRequest, calibration: Calibration, score_name: ScoreName) -> Selection:
    """Apply a policy to a calibration."""
    if request.policy == "none":  # which answers what is unlike the training images, too
        calibration = calibration.of_scores_alone
    return selective.select(
        request.policy,
        request.number,
        calibration.tables[score_name],
        predicted=calibration.predicted.get(score_name, {}),
        true=calibration.classes.get(score_name, {}),
        classes=tuple(calibration.true_log_probabilities),
        of_subjects=calibration.n_subjects is not None,
        max_missed=request.max_missed,
        confidence=request.confidence,
    )


def _use(selection: Selection, calibration: Calibration) -> predictions.Calibration:
    point = selection.point
    return predictions.Calibration(
        id=calibration.id,
        n=point.n,
        n_subjects=calibration.n_subjects,
        n_answered=point.answered,
        n_errors=point.errors,
        coverage=point.coverage,
        coverage_interval=(point.coverage_interval.low, point.coverage_interval.high),
        risk=point.risk,
        risk_upper=selection.risk_upper,
        risk_confidence=point.confidence,
        method=selection.method,
        temperature=calibration.temperature,
        created_at=calibration.created_at,
    )
