"""Which of the images that a model was sent join its review queue, and how they are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.inference import Upload
from app.registry import promise
from app.selective import calibrations
from core.queries import review_queue
from core.queries.review_queue import Monitored
from core.session import Database
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.ids import new_id
from masktune.contract.predictions import Answer, Selection
from masktune.contract.vocabulary import Decision, ReviewKind, SelectionStatus
from models.data.images.checks import stored_file
from models.data.images.limits import STORED

_random = SystemRandom().random
"""Not seeded: nobody who sends images can foresee which of them are drawn."""


class Drawn(NamedTuple):
    """An image of a request, by its number, and what was said of it. `of` is the promise under which it was
    answered; None if it was not answered."""

    number: int
    of: Monitored | None
    answer: Answer
    """Of the request, with this prediction alone."""


def draw(model: ModelRow, answer: Answer, random: Callable[[], float] = _random) -> list[Drawn]:
    """The images that join the queue: all abstained ones, whatever the policy of the request, and a random
    sample of those answered under exactly the promise that is monitored."""
    policy, of = model.review_policy, promise.monitored(model)
    if policy is None or not policy["enabled"]:
        return []
    audited = of is not None and _is_under(answer.selection, of, model)
    drawn = []
    for number, prediction in enumerate(answer.predictions):
        abstained = prediction.decision is Decision.ABSTAIN
        if abstained or (audited and random() < policy["audit_share"]):
            own = prediction.model_copy(update={"saliency": None})
            drawn.append(
                Drawn(number, None if abstained else of, answer.model_copy(update={"predictions": [own]}))
            )
    return drawn


def store(database: Database, drawn: Sequence[Drawn], uploads: Sequence[Upload], subject: str | None) -> None:
    """Store the drawn images of a request, in their order and in one transaction. All show `subject`, if
    it is given.

    A copy of an image that is in the queue, and in the audit sample another image of a subject, are left out.
    So is all of a model that was deleted, and of a promise that is no longer monitored.
    """
    rows = [_row(one, uploads[one.number].content, subject) for one in drawn]
    # As data sets store them: without headers that may name a person.
    contents = [stored_file(uploads[one.number].content, STORED) for one in drawn]
    with database.begin() as session:
        # Gives out the places in the order of the audit sample; jobs that keep the model are not blocked.
        model = session.get(ModelRow, rows[0].model_id, with_for_update={"key_share": True})
        if model is None:
            return
        monitored = promise.monitored(model)
        for one, row, content in zip(drawn, rows, contents, strict=True):
            if one.of in (None, monitored) and not _is_copy(session, row, one.of):
                review_queue.add(session, row, content)


def _is_under(selection: Selection, of: Monitored, model: ModelRow) -> bool:
    """Whether a request's policy is the promise: with its numbers, on its calibration, by its own score."""
    calibration = selection.calibration
    return (
        selection.status == SelectionStatus.CERTIFIED
        and calibration is not None
        and calibration.id == of.calibration_id
        and selection.requested == of.max_risk
        and calibration.risk_confidence == of.risk_confidence
        and selection.score_name == calibrations.score_name(None, model)
    )


def _row(drawn: Drawn, content: bytes, subject: str | None) -> ReviewItemRow:
    selection, of, (prediction,) = drawn.answer.selection, drawn.of, drawn.answer.predictions
    return ReviewItemRow(
        id=new_id("rev"),
        model_id=drawn.answer.model,
        kind=ReviewKind.ABSTAINED if of is None else ReviewKind.AUDIT,
        calibration_id=None if of is None else of.calibration_id,
        max_risk=None if of is None else of.max_risk,
        risk_confidence=None if of is None else of.risk_confidence,
        sha256=hashlib.sha256(content).hexdigest(),
        subject=subject,
        subject_sha256=None if subject is None else hashlib.sha256(subject.encode()).hexdigest(),
        label=prediction.label,
        prediction=prediction.model_dump(mode="json") | {"threshold": selection.threshold},
    )


def _is_copy(session: Session, row: ReviewItemRow, of: Monitored | None) -> bool:
    if of is None:
        return review_queue.has_abstained_copy(session, row.model_id, row.sha256)
    return review_queue.has_audit_copy(session, of, row.sha256, row.subject_sha256)
