"""Review queues: who is handed which image, what people say of it, and which images are kept.

Whatever changes an answer locks the row of the model first, and judges its promise anew in that transaction.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable
from typing import Annotated

from fastapi import Path
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.auth.keyring import Caller
from app.http.caller_ids import public_id
from app.http.deps import shaped_like
from app.registry import promise
from core.errors import Conflict, InvalidInput
from core.queries import registry, review_queue
from core.session import Database, db_now
from core.tables import ModelRow, ReviewItemRow
from masktune.contract.serving.review_queue import (
    NewReviewPolicy,
    ReviewAnswer,
    ReviewedPrediction,
    ReviewItem,
    ReviewPolicy,
    ReviewState,
)
from masktune.contract.vocabulary import ReviewKind, ReviewOutcome

logger = logging.getLogger(__name__)

EXPIRE_SECONDS = 60.0
"""Between two looks for images that are no longer kept."""


def describe(row: ReviewItemRow) -> ReviewItem:
    """Convert the row to the shape of the API."""
    is_open_audit = row.kind is ReviewKind.AUDIT and _state(row) == "waiting"
    return ReviewItem(
        id=row.id,
        model=row.model_id,
        kind=row.kind,
        state=_state(row),
        sha256=row.sha256,
        subject=row.subject,
        bytes=row.bytes,
        prediction=None if is_open_audit else ReviewedPrediction.model_validate(row.prediction),
        outcome=row.outcome,
        label=row.true_label,
        answered_by=public_id(row.answered_by),
        answered_by_name=row.answered_by_name,
        answered_at=row.answered_at,
        created_at=row.created_at,
    )


def table(rows: Iterable[ReviewItemRow]) -> bytes:
    """The images as a table (RFC 4180). Labels are written as they are."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    columns = ("id", "outcome", "label", "model", "kind", "state", "predicted", "score", "sha256")
    writer.writerow(columns)
    for review in map(describe, rows):
        prediction = review.prediction
        predicted = (None, None) if prediction is None else (prediction.label, prediction.score)
        cells = (review.model, review.kind, review.state, *predicted, review.sha256)
        writer.writerow([review.id, review.outcome, review.label, *cells])
    return buffer.getvalue().encode()


def policy(row: ModelRow) -> ReviewPolicy:
    """The review policy of the model: off, unless somebody has named one."""
    return ReviewPolicy.model_validate(row.review_policy or {"enabled": False})


def set_policy(database: Database, model_id: str, new: NewReviewPolicy) -> ReviewPolicy:
    """Set the policy, and judge the promise that it names from the answers that there are."""
    to_notice = promise.answers_to_notice(new.max_risk, new.risk_confidence)
    with database.begin() as session:
        row = registry.get(session, model_id, lock=True)
        emptied_at = (row.review_policy or {}).get("emptied_at", 0.0)
        row.review_policy = new.model_dump(mode="json") | {
            "answers_to_notice": to_notice,
            "emptied_at": emptied_at,
        }
        promise.judge(session, row)
        return policy(row)


def take_answer(session: Session, review_id: str, answer: ReviewAnswer, caller: Caller) -> ReviewItem:
    """Take the answer, the first to this image. Raises `NotFound`, `Conflict`, `InvalidInput`."""
    model, row = _locked(session, review_id)
    _check(answer, model.classes)
    if row.outcome is not None:
        raise Conflict(f"review {row.id} was answered already")
    if row.bytes is None:
        raise Conflict(f"the image of review {row.id} was deleted, so nobody can say what it shows")
    row.outcome, row.true_label = answer.outcome, answer.label
    row.answered_by, row.answered_by_name, row.answered_at = caller.id, caller.name, db_now()
    row.claimed_by = row.claimed_until = None
    session.flush()
    promise.judge(session, model)
    session.refresh(row)
    return describe(row)


def undo(session: Session, review_id: str, caller: Caller) -> ReviewItem:
    """Take back the caller's last answer: the image is theirs to answer again. Raises `Conflict`."""
    model, row = _locked(session, review_id)
    if row.outcome is None or review_queue.last_answered(session, caller.id) != row.id:
        raise Conflict(f"review {row.id} is not the last one that you answered; only that one can be undone")
    if row.bytes is None:
        raise Conflict(f"the image of review {row.id} was deleted: the answer can no longer be undone")
    row.outcome = row.true_label = row.answered_at = row.answered_by = row.answered_by_name = None
    row.claimed_by, row.claimed_until = caller.id, db_now() + review_queue.LEASE_SECONDS
    session.flush()
    promise.judge(session, model)
    session.refresh(row)
    return describe(row)


def delete(session: Session, review_id: str) -> None:
    """Delete the image: with its row, unless it is of the audit sample, where it counts as before."""
    model, row = _locked(session, review_id)
    review_queue.discard(session, ReviewItemRow.id == row.id)
    promise.judge(session, model)


def delete_all(session: Session, model_id: str) -> None:
    """Delete the model's whole queue, with all that was said: its promise is monitored from the start."""
    row = registry.get(session, model_id, lock=True)
    review_queue.forget(session, row.id)
    row.promise = None
    if row.review_policy is not None:  # what processes have not stored yet goes too
        row.review_policy = row.review_policy | {"emptied_at": session.scalar(select(db_now()))}


def expire(database: Database) -> None:
    """Delete the images that need no longer be there. Logs errors: the next call tries again."""
    try:
        with database.read() as session:
            model_ids = review_queue.models(session)
        deleted = 0
        for model_id in model_ids:
            try:
                while some := _expire_some(database, model_id):
                    deleted += some
            except SQLAlchemyError:  # of the database, for all models
                raise
            except Exception:  # whatever is wrong with this one
                logger.exception("images in the review queue of %s could not be deleted", model_id)
        if deleted:
            database.checkpoint()
    except Exception:  # any error, such as that of a database which restarts
        logger.exception("images of review queues could not be deleted yet")


def _expire_some(database: Database, model_id: str) -> int:
    with database.begin() as session:
        row = registry.get(session, model_id, lock=True)
        limits = policy(row)
        deleted = review_queue.expire(session, model_id, limits.keep_days)
        deleted += review_queue.keep_within(session, model_id, limits.keep_bytes)
        if deleted:
            promise.judge(session, row)
        return deleted


def _check(answer: ReviewAnswer, classes: list[str]) -> None:
    """Raise `InvalidInput` unless the label is one of the classes, exactly where the outcome is `label`."""
    if answer.outcome is not ReviewOutcome.LABEL:
        if answer.label is not None:
            raise InvalidInput.field(
                "/label", "not-used", f"{answer.outcome.value} has no label; leave it out"
            )
    elif answer.label is None:
        raise InvalidInput.field("/label", "missing", "name the class that the image shows")
    elif answer.label not in classes:
        some = ", ".join(classes[:10])
        raise InvalidInput.field(
            "/label", "unknown-class", f"the model has no class {answer.label!r}; it has: {some}"
        )


def _state(row: ReviewItemRow) -> ReviewState:
    if row.outcome is not None:
        return "answered"
    return "deleted" if row.bytes is None else "waiting"


def _locked(session: Session, review_id: str) -> tuple[ModelRow, ReviewItemRow]:
    """The row of the model, locked, and then the row: nobody else changes what was said of it."""
    model = registry.get(session, review_queue.model_of(session, review_id), lock=True)
    return model, review_queue.get(session, review_id)


ReviewKey = Annotated[
    str,
    Path(description="Id of a review.", examples=["rev_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("rev", "review", "/reviews"),
]
