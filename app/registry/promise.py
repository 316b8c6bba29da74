"""The promise of a model: whether the risk that its review policy names is kept, by the answers to its audit
sample.

It is judged in the transaction that changes an answer.
The outcome stands in the model's row: no query more.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.queries import review_queue, webhooks
from core.queries.review_queue import MonitoredPromise
from core.session import db_now
from core.tables import ModelRow
from masktune.contract.models import Promise, PromiseStatus
from masktune.contract.vocabulary import WebhookEvent
from models.selective.risk_monitor import RiskMonitor


def monitored(row: ModelRow) -> MonitoredPromise | None:
    """The promise that the model's audit sample monitors now, if any."""
    policy, calibration = row.review_policy or {}, row.own_calibration
    if policy.get("max_risk") is None or calibration is None:
        return None
    return MonitoredPromise(row.id, calibration["id"], policy["max_risk"], policy["risk_confidence"])


def state(row: ModelRow) -> Promise | None:
    """What is known of the promise; None if none is monitored."""
    of = monitored(row)
    if of is None:
        return None
    known = _known(row, of) | {"max_risk": of.max_risk, "risk_confidence": of.risk_confidence}
    if "answers_to_notice" not in known:  # judged by version 0.1.0, whose number was for another monitor
        to_notice = _monitor(of.max_risk, of.risk_confidence).answers_to_notice(known["answers"])
        known["answers_to_notice"] = to_notice
    return Promise(**{name: known[name] for name in Promise.model_fields if name in known})


def answers_to_notice(max_risk: float | None, risk_confidence: float) -> int | None:
    """How many answers show that twice the risk is exceeded; None if nothing is monitored, or it takes too
    many."""
    return None if max_risk is None else _monitor(max_risk, risk_confidence).answers_to_notice()


def judge(session: Session, row: ModelRow) -> None:
    """Judge the promise anew, and write the outcome if it has changed. The row is locked."""
    of = monitored(row)
    if of is None:
        row.promise = None
        return
    known = _known(row, of)
    monitor, outcomes = _monitor(of.max_risk, of.risk_confidence), review_queue.audit_outcomes(session, of)
    errors, noticed_answer = [outcome != "right" for outcome in outcomes], known.get("noticed_answer")
    judgement = monitor.judge(errors, noticed_answer)
    status: PromiseStatus = judgement.status
    if status == "broken":
        by_answers = monitor.judge([outcome == "wrong" for outcome in outcomes], noticed_answer)
        if by_answers.status != "broken":
            status = "unanswered"
        else:
            judgement = judgement._replace(noticed_at=by_answers.noticed_at)
    to_notice = monitor.answers_to_notice(judgement.answers)
    judged = known | {
        "status": status,
        "answers": judgement.answers,
        "errors": judgement.errors,
        "skipped": outcomes.count("skipped"),
        "deleted": outcomes.count("deleted"),
        "recent_errors": None if to_notice is None else sum(errors[-to_notice:]),
        "answers_to_notice": to_notice,
        "noticed_answer": judgement.noticed_at,
        "full_since": None,  # what was answered can make room
    }
    if judged == known:
        return
    now = session.execute(select(db_now())).scalar_one()
    noticed_at = (known["noticed_at"] or now) if status == "broken" else None
    if noticed_at == now:
        webhooks.publish_of_model(session, WebhookEvent.MODEL_PROMISE_BROKEN, row, status="broken")
    row.promise = judged | {"judged_at": now, "noticed_at": noticed_at}


def count(row: ModelRow, *, left_out: int, lost: int, is_full: bool) -> None:
    """Count images that were drawn and are not in the queue.
    Note since when the audit sample has no room. The row is locked."""
    if (of := monitored(row)) is not None:
        known = _known(row, of)
        counts = {"left_out": left_out, "lost": lost}
        counted = {name: known.get(name, 0) + n for name, n in counts.items()}
        if is_full:
            counted["full_since"] = known.get("full_since") or time.time()
        row.promise = known | counted


def _known(row: ModelRow, of: MonitoredPromise) -> dict[str, Any]:
    """What is known of this promise, and not of one before."""
    if row.promise is not None and row.promise["of"] == list(of):
        return row.promise
    return {"of": list(of), "status": "not_enough", "answers": 0, "errors": 0, "noticed_at": None}


def _monitor(max_risk: float, risk_confidence: float) -> RiskMonitor:
    return RiskMonitor(max_risk=max_risk, delta=1 - risk_confidence)
