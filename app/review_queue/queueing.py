"""Which of the images that a model was sent join its review queue, and how they are stored."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.inference import Upload
from app.registry import promise
from app.selective import calibrations
from core.queries import review_queue
from core.queries.review_queue import MonitoredPromise
from core.session import Database, db_now
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.ids import new_id
from masktune.contract.serving.predictions import Answer, Selection
from masktune.contract.vocabulary import Decision, ReviewKind, SelectionStatus
from models.data.images.checks import stored_file
from models.data.images.limits import STORED

_random = SystemRandom().random
"""Not seeded: nobody who sends images can foresee which of them are drawn."""


class ReceivedImages(NamedTuple):
    """The images of a request, and what all of them show, if it says so."""

    uploads: Sequence[Upload]
    subject: str | None


class QueuedImage(NamedTuple):
    """An image on its way into the queue of a model.
    `id`: that it has there; `prediction` as JSON. `drawn_at`, in seconds since 1970; `of` as in `DrawnImage`.
    """

    id: str
    model_id: str
    of: MonitoredPromise | None
    prediction: dict[str, Any]
    subject: str | None
    drawn_at: float
    content: bytes


class DrawnImage(NamedTuple):
    """An image of a request, by its number, and what was said of it, as JSON.
    `of` is the promise under which it was answered; None if it was not answered."""

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


def queued(model_id: str, drawn: Sequence[DrawnImage], received: ReceivedImages) -> list[QueuedImage]:
    """The drawn images of a request, in their order."""
    return [
        QueuedImage(
            id=new_id("rev"),
            model_id=model_id,
            of=one.of,
            prediction=one.prediction,
            subject=received.subject,
            drawn_at=time.time(),
            content=received.uploads[one.number].content,
        )
        for one in drawn
    ]


def store(database: Database, model_id: str, images: Sequence[QueuedImage], lost: int = 0) -> int:
    """Store images of the model's queue, in order and in one transaction.
    `lost` others are counted. Return how many may join it.

    Left out are copies of an image in the queue, in the audit sample further images of a subject,
    all of a model that was deleted or whose queue was switched off or emptied since,
    what was answered under a promise that is no longer monitored, and what is stored already.
    The audit sample is full once its images that wait take the bytes of the policy:
    none of them is deleted for another one.
    """
    # As data sets store them: without headers that may name a person.
    contents = [stored_file(one.content, STORED) for one in images]
    with database.begin() as session:
        # Gives out the places in the order of the audit sample; jobs that keep the model are not blocked.
        model = session.get(ModelRow, model_id, with_for_update={"key_share": True})
        policy = (model and model.review_policy) or {}
        if model is None or not policy.get("enabled"):
            return 0
        # `drawn_at` is by the clock of this host, `emptied_at` by the database's.
        ahead = time.time() - session.execute(select(db_now())).scalar_one()
        monitored, emptied_at = promise.monitored(model), policy.get("emptied_at", 0.0) + ahead
        stored = review_queue.stored(session, [one.id for one in images])
        checked = left_out = full = 0
        for one, content in zip(images, contents, strict=True):
            if one.id in stored or one.of not in (None, monitored) or one.drawn_at < emptied_at:
                continue
            row, checked = _row(one), checked + 1
            if _is_copy(session, row, one.of):
                left_out += one.of is not None
            elif one.of is not None and review_queue.audit_bytes(session, one.of) >= policy["keep_bytes"]:
                full += 1
            else:
                review_queue.add(session, row, content)
        if left_out or full or lost:
            promise.count(model, left_out=left_out, lost=lost + full, is_full=full > 0)
        review_queue.keep_within(session, model_id, policy["keep_bytes"])
        return checked


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


def _row(image: QueuedImage) -> ReviewItemRow:
    of, subject = image.of, image.subject
    return ReviewItemRow(
        id=image.id,
        model_id=image.model_id,
        kind=ReviewKind.ABSTAINED if of is None else ReviewKind.AUDIT,
        calibration_id=None if of is None else of.calibration_id,
        max_risk=None if of is None else of.max_risk,
        risk_confidence=None if of is None else of.risk_confidence,
        sha256=hashlib.sha256(image.content).hexdigest(),
        subject=subject,
        subject_sha256=None if subject is None else hashlib.sha256(subject.encode()).hexdigest(),
        label=image.prediction["label"],
        prediction=image.prediction,
        created_at=image.drawn_at,
    )


def _is_copy(session: Session, row: ReviewItemRow, of: MonitoredPromise | None) -> bool:
    if of is None:
        return review_queue.has_abstained_copy(session, row.model_id, row.sha256)
    return review_queue.has_audit_copy(session, of, row.sha256, row.subject_sha256)
