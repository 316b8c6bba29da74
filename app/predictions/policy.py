"""The reject option in the API: from query parameters to a threshold, from scores to decisions.

Internally, scores are log-probabilities (`models.selective.scores`); in the API they are the probabilities
e^score, in 0..1. Decisions use the logarithms, which still differ where probabilities round to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from app.inference import Calibration
from core.errors import FieldError, InvalidInput, NotCertifiable
from masktune.contract import predictions
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.predictions import PolicyName, PredictQuery
from masktune.contract.vocabulary import AbstainReason, Decision, SelectionStatus
from models import selective
from models.selective import DEFAULT_CONFIDENCE, CalibrationTable, Selection

POLICIES: tuple[PolicyName, ...] = ("coverage", "max_risk", "min_score")


@dataclass(frozen=True)
class Wish:
    """A policy as requested. `value` is a share of inputs, a risk, or a score in 0..1."""

    policy: PolicyName
    value: float | None = None
    confidence: float = DEFAULT_CONFIDENCE


@dataclass(frozen=True)
class Chosen:
    """A policy, applied. `threshold` is a log-probability: None answers nothing, −inf all finite scores."""

    threshold: float | None
    answer: predictions.Selection

    def decide(self, score: float) -> tuple[Decision, AbstainReason | None]:
        """Decide on an input with this log-probability; a non-finite score abstains."""
        if self.threshold is not None and math.isfinite(score) and score >= self.threshold:
            return Decision.ANSWER, None
        if self.answer.status is SelectionStatus.NOT_CERTIFIABLE:
            return Decision.ABSTAIN, AbstainReason.NO_CERTIFIED_THRESHOLD
        return Decision.ABSTAIN, AbstainReason.BELOW_THRESHOLD


def wish(query: PredictQuery) -> Wish:
    """Return the policy of a request. Raises `InvalidInput` for several, or a confidence without a risk."""
    asked = [name for name in POLICIES if getattr(query, name) is not None]
    if len(asked) > 1:
        raise InvalidInput(
            f"give at most one policy, not {' and '.join(asked)}",
            errors=tuple(
                FieldError(f"?{name}", "one-policy", "leave out all policies but one") for name in asked
            ),
        )
    if query.risk_confidence is not None and query.max_risk is None:
        raise InvalidInput.field(
            "?risk_confidence", "needs-max-risk", "risk_confidence is only for use with max_risk"
        )
    if not asked:
        return Wish("none")
    return Wish(asked[0], getattr(query, asked[0]), query.risk_confidence or DEFAULT_CONFIDENCE)


def choose(wish: Wish, calibration: Calibration | None, score_name: ScoreName) -> Chosen:
    """Choose the threshold for a wish. Only `min_score` and no policy work without a calibration."""
    if calibration is None:
        return _uncalibrated(wish, score_name)
    return _calibrated(wish, calibration, score_name)


def require_certified(chosen: Chosen) -> None:
    """Raise `NotCertifiable` if nothing could be certified; it tells which risk could be."""
    answer = chosen.answer
    if answer.status is not SelectionStatus.NOT_CERTIFIABLE:
        return
    best, needed = answer.best_certifiable_risk, answer.samples_needed
    raise NotCertifiable(
        f"no threshold can be certified for a risk of {answer.requested} with this calibration split; "
        + (f"the lowest it certifies is {best:.4g}" if best is not None else "it certifies no risk below 1")
        + (f"; about {needed} calibration samples would be enough" if needed is not None else ""),
        extra={"selection": answer.model_dump(mode="json")},
    )


def probability(log_probability: float | None) -> float | None:
    """Return e^score for the API; None for None and NaN."""
    if log_probability is None or math.isnan(log_probability):
        return None
    return math.exp(log_probability)


@lru_cache(maxsize=4096)
def _calibrated(wish: Wish, calibration: Calibration, score_name: ScoreName) -> Chosen:
    # Cached: finding out what could be certified instead takes a hundred passes over the table.
    selection = _SELECT[wish.policy](calibration.tables[score_name], wish)
    planning = selection.planning
    answer = predictions.Selection(
        policy=wish.policy,
        requested=wish.value,
        status=SelectionStatus(selection.status),
        threshold=None if wish.policy == "none" else probability(selection.threshold),
        score_name=score_name,
        calibration=_use(selection, calibration),
        best_certifiable_risk=planning and planning.best_certifiable_risk,
        samples_at_least=planning and planning.samples_at_least,
        samples_needed=planning and planning.samples_needed,
    )
    return Chosen(selection.threshold, answer)


def _uncalibrated(wish: Wish, score_name: ScoreName) -> Chosen:
    statuses = {"none": SelectionStatus.NONE, "min_score": SelectionStatus.RAW_THRESHOLD}
    answer = predictions.Selection(
        policy=wish.policy,
        requested=wish.value,
        status=statuses[wish.policy],
        threshold=wish.value,
        score_name=score_name,
        calibration=None,
    )
    return Chosen(-math.inf if wish.value is None else math.log(wish.value), answer)


def _use(selection: Selection, calibration: Calibration) -> predictions.Calibration:
    point = selection.point
    certified = selection.status == "certified" and selection.requested is not None
    return predictions.Calibration(
        id=calibration.id,
        n=point.n,
        n_answered=point.answered,
        n_errors=point.errors,
        coverage=point.coverage,
        coverage_interval=(point.coverage_interval.low, point.coverage_interval.high),
        risk=point.risk,
        # The threshold was searched for, so only the certificate holds for it, and no bound computed later.
        risk_upper=selection.requested if certified and selection.requested else point.risk_upper,
        risk_confidence=point.confidence,
        method=selection.method,
        temperature=calibration.temperature,
        created_at=calibration.created_at,
    )


def _certified(table: CalibrationTable, wish: Wish) -> Selection:
    assert wish.value is not None
    return selective.certify(table, max_risk=wish.value, confidence=wish.confidence)


def _covered(table: CalibrationTable, wish: Wish) -> Selection:
    assert wish.value is not None
    return selective.threshold_for_coverage(table, wish.value)


def _raw(table: CalibrationTable, wish: Wish) -> Selection:
    assert wish.value is not None
    return selective.threshold_for_score(table, math.log(wish.value))


def _everything(table: CalibrationTable, wish: Wish) -> Selection:
    return selective.answer_all(table)


_SELECT: dict[PolicyName, Callable[[CalibrationTable, Wish], Selection]] = {
    "coverage": _covered,
    "max_risk": _certified,
    "min_score": _raw,
    "none": _everything,
}
