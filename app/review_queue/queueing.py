"""Which of the images that a model was sent join its review queue, and how they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.inference import Upload
from app.registry import promise
from app.selective import calibrations
from core.queries import review_queue
from core.queries.review_queue import MonitoredPromise
from core.session import Database
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.ids import new_id
from masktune.contract.predictions import Answer, Selection
from masktune.contract.vocabulary import Decision, ReviewKind, SelectionStatus
from models.data.images.checks import stored_file
from models.data.images.limits import STORED

_random = SystemRandom().random
"""Not seeded: nobody who sends images can foresee which of them are drawn."""


class ReceivedImages(NamedTuple):
    """The images of a request, and what all of them show, if it says so."""

    uploads: Sequence[Upload]
    subject: str | None


class DrawnImage(NamedTuple):
    """An image of a request, by its number, and what was said of it, as JSON. `of` is the promise under which
    it was answered; None if it was not answered."""

    number: int
    of: MonitoredPromise | None
    prediction: dict[str, Any]


def draw(model: ModelRow, answer: Answer, random: Callable[[], float] = _random) -> list[DrawnImage]:
    """The images that join the queue: all abstained ones, whatever the policy of the request, and a random
    sample of those answered under exactly the promise that is monitored."""
    policy, of = model.review_policy, promise.monitored(model)
    if policy is None or not policy["enabled"]:
        return []
    audited = of is not None and _is_under(answer.selection, of, model)
    threshold = {"threshold": answer.selection.threshold}
    return [
        DrawnImage(
            number,
            None if prediction.decision is Decision.ABSTAIN else of,
            prediction.model_dump(mode="json", exclude={"saliency"}) | threshold,
        )
        for number, prediction in enumerate(answer.predictions)
        if prediction.decision is Decision.ABSTAIN or (audited and random() < policy["audit_share"])
    ]


def store(database: Database, model_id: str, drawn: Sequence[DrawnImage], received: ReceivedImages) -> None:
    """Store the drawn images of a request, in their order and in one transaction.

    A copy of an image that is in the queue, and in the audit sample another image of a subject, are left out.
    So is all of a model that was deleted or whose queue was switched off, and what was answered under a
    promise that is no longer monitored.
    """
    rows = [_row(model_id, one, received) for one in drawn]
    # As data sets store them: without headers that may name a person.
    contents = [stored_file(received.uploads[one.number].content, STORED) for one in drawn]
    with database.begin() as session:
        # Gives out the places in the order of the audit sample; jobs that keep the model are not blocked.
        model = session.get(ModelRow, model_id, with_for_update={"key_share": True})
        if model is None or not (model.review_policy or {}).get("enabled"):
            return
        monitored = promise.monitored(model)
        left_out = 0
        for one, row, content in zip(drawn, rows, contents, strict=True):
            if one.of in (None, monitored) and not _is_copy(session, row, one.of):
                review_queue.add(session, row, content)
            elif one.of is not None and one.of == monitored:
                left_out += 1
        if left_out:
            promise.add_left_out(model, left_out)


def _is_under(selection: Selection, of: MonitoredPromise, model: ModelRow) -> bool:
    """Whether a request's policy is the promise: with its numbers, on its calibration, by its own score."""
    calibration = selection.calibration
    return (
        selection.policy == "max_risk"
        and selection.status == SelectionStatus.CERTIFIED
        and calibration is not None
        and calibration.id == of.calibration_id
        and selection.requested == of.max_risk
        and calibration.risk_confidence == of.risk_confidence
        and selection.score_name == calibrations.score_name(None, model)
    )


def _row(model_id: str, drawn: DrawnImage, received: ReceivedImages) -> ReviewItemRow:
    of, subject = drawn.of, received.subject
    return ReviewItemRow(
        id=new_id("rev"),
        model_id=model_id,
        kind=ReviewKind.ABSTAINED if of is None else ReviewKind.AUDIT,
        calibration_id=None if of is None else of.calibration_id,
        max_risk=None if of is None else of.max_risk,
        risk_confidence=None if of is None else of.risk_confidence,
        sha256=hashlib.sha256(received.uploads[drawn.number].content).hexdigest(),
        subject=subject,
        subject_sha256=None if subject is None else hashlib.sha256(subject.encode()).hexdigest(),
        label=drawn.prediction["label"],
        prediction=drawn.prediction,
    )


def _is_copy(session: Session, row: ReviewItemRow, of: MonitoredPromise | None) -> bool:
    if of is None:
        return review_queue.has_abstained_copy(session, row.model_id, row.sha256)
    return review_queue.has_audit_copy(session, of, row.sha256, row.subject_sha256)
