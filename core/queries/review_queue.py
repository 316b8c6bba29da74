"""SQL for review queues. Nothing here commits.

What is asked of the audit sample and what is asked of abstained images are separate functions, and each names
its kind itself: no caller can have one where it means the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.queries.rows import delete_where
from core.session import ago, db_now
from core.tables import ReviewImageRow, ReviewItemRow
from masktune.contract.vocabulary import ReviewKind, ReviewOutcome

LEASE_SECONDS = 600.0
"""How long an image that was handed out to a person is handed out to nobody else."""
AT_A_TIME = 500
"""Most images that one transaction deletes: on SQLite, it blocks all other writers."""

Item = ReviewItemRow
_STORED = Item.bytes.is_not(None)
_DELETABLE = _STORED | (Item.kind == ReviewKind.ABSTAINED)
"""Has something to delete: its image, or all of it.
Backups restore abstained items without images."""
_UNANSWERED = Item.outcome.is_(None)
_CONDITIONS = {
    "waiting": _UNANSWERED & _STORED,
    "answered": Item.outcome.is_not(None),
    "deleted": _UNANSWERED & ~_STORED,
}


AuditOutcome = Literal["right", "wrong", "skipped", "deleted"]
"""Whether the model was right by a person's answer, or the person skipped the image, or it was deleted
before anybody answered."""


class MonitoredPromise(NamedTuple):
    """The promise under which images were answered, by the model with this calibration."""

    model_id: str
    calibration_id: str
    max_risk: float
    risk_confidence: float

    @property
    def condition(self) -> ColumnElement[bool]:
        """The SQL condition on the audit sample of this promise."""
        return (
            (Item.model_id == self.model_id)
            & (Item.kind == ReviewKind.AUDIT)
            & (Item.calibration_id == self.calibration_id)
            & (Item.max_risk == self.max_risk)
            & (Item.risk_confidence == self.risk_confidence)
        )


class TrainingExample(NamedTuple):
    """An abstained image to which a person has given a label."""

    item_id: str
    label: str
    subject: str | None
    content: bytes


def get(session: Session, item_id: str) -> ReviewItemRow:
    """The item, or `NotFound`."""
    row = session.get(Item, item_id)
    if row is None:
        raise NotFound(
            f"there is no review {item_id}: it was deleted, or its model was; GET /reviews lists them"
        )
    return row


def model_of(session: Session, item_id: str) -> str:
    """Id of the model to whose queue the item belongs, or `NotFound`."""
    model_id = session.scalar(select(Item.model_id).where(Item.id == item_id))
    return get(session, item_id).model_id if model_id is None else model_id


def models(session: Session) -> list[str]:
    """Ids of the models with something to delete in their queues."""
    return list(session.scalars(select(Item.model_id).where(_DELETABLE).distinct().order_by(Item.model_id)))


def image(session: Session, item_id: str) -> bytes:
    """The image as it was sent, or `NotFound`."""
    content = session.scalar(select(ReviewImageRow.content).where(ReviewImageRow.item_id == item_id))
    if content is None:
        raise NotFound(f"the image of review {item_id} was deleted")
    return content


def where(model_id: str | None, kind: ReviewKind | None, state: str | None) -> list[ColumnElement[bool]]:
    """The SQL conditions on the items of a list; None asks for nothing."""
    terms = [
        None if model_id is None else Item.model_id == model_id,
        None if kind is None else Item.kind == kind,
        None if state is None else _CONDITIONS[state],
    ]
    return [term for term in terms if term is not None]


def every(session: Session, conditions: list[ColumnElement[bool]]) -> Iterator[ReviewItemRow]:
    """All items that meet the conditions, oldest first, some at a time."""
    query = select(Item).where(*conditions).order_by(Item.created_at, Item.seq)
    yield from session.scalars(query.execution_options(yield_per=500))


def count_waiting(session: Session) -> int:
    """How many images of all queues wait for an answer."""
    return session.execute(select(func.count()).where(_CONDITIONS["waiting"]).select_from(Item)).scalar_one()


# --- into the queue: the caller holds the lock of the model's row ---------------------------------------


def has_abstained_copy(session: Session, model_id: str, sha256: str) -> bool:
    """Whether the image is among the abstained ones of the model."""
    of_model = (Item.model_id == model_id) & (Item.kind == ReviewKind.ABSTAINED)
    return session.scalar(select(Item.id).where(of_model, Item.sha256 == sha256).limit(1)) is not None


def has_audit_copy(session: Session, of: MonitoredPromise, sha256: str, subject_sha256: str | None) -> bool:
    """Whether the image, or another of its subject, is in the audit sample."""
    same = Item.sha256 == sha256
    if subject_sha256 is not None:
        same |= Item.subject_sha256 == subject_sha256
    return session.scalar(select(Item.id).where(of.condition, same).limit(1)) is not None


def stored(session: Session, item_ids: Sequence[str]) -> set[str]:
    """Those of the items that the queue has."""
    return set(session.scalars(select(Item.id).where(Item.id.in_(item_ids))))


def audit_bytes(session: Session, of: MonitoredPromise) -> int:
    """Bytes of the images of the audit sample that wait for an answer."""
    waiting = _CONDITIONS["waiting"] & of.condition
    return session.scalar(select(func.sum(Item.bytes)).where(waiting)) or 0


def add(session: Session, row: ReviewItemRow, content: bytes) -> None:
    """Add an item behind all others of its kind, and its image."""
    same_kind = (Item.model_id == row.model_id) & (Item.kind == row.kind)
    row.seq = 1 + session.execute(select(func.coalesce(func.max(Item.seq), 0)).where(same_kind)).scalar_one()
    row.bytes = len(content)
    session.add(row)
    session.flush()
    session.add(ReviewImageRow(item_id=row.id, content=content))
    session.flush()


# --- answers --------------------------------------------------------------------------------------------


def claim(
    session: Session, caller: str, *, model_id: str | None = None, kind: ReviewKind | None = None
) -> ReviewItemRow | None:
    """Hand out the next image, to nobody else for a while; None if none waits that others do not hold.

    The audit sample comes first, because the monitor waits at its first image without an answer.
    """
    free = or_(Item.claimed_until.is_(None), Item.claimed_until < db_now())
    kinds = (ReviewKind.AUDIT, ReviewKind.ABSTAINED) if kind is None else (kind,)
    # A key that two people share is handed another image as long as there is one. Each of these is read from
    # an index up to its first image; one query for all sorted every image that waits.
    choices = ((holder, one) for holder in (free, Item.claimed_by == caller) for one in kinds)
    rows = (_first_waiting(session, holder, *where(model_id, one, "waiting")) for holder, one in choices)
    row = next(filter(None, rows), None)
    if row is not None:
        row.claimed_by, row.claimed_until = caller, db_now() + LEASE_SECONDS
        session.flush()
        session.refresh(row)
    return row


def _first_waiting(session: Session, *conditions: ColumnElement[bool]) -> ReviewItemRow | None:
    """The oldest image that meets the conditions, locked; those that others have locked are left out."""
    query = select(Item).where(*conditions).order_by(Item.created_at, Item.seq).limit(1)
    return session.scalars(query.with_for_update(skip_locked=True)).first()


def last_answered(session: Session, caller: str) -> str | None:
    """Id of the item that this caller answered last."""
    query = (
        select(Item.id).where(Item.answered_by == caller).order_by(Item.answered_at.desc(), Item.id.desc())
    )
    return session.scalar(query.limit(1))


# --- what answers are for -------------------------------------------------------------------------------


def audit_outcomes(session: Session, of: MonitoredPromise) -> list[AuditOutcome]:
    """Of each image of the audit sample, in the order drawn, up to the first that waits for an answer."""
    columns = (Item.outcome, Item.label, Item.true_label, Item.bytes)
    outcomes: list[AuditOutcome] = []
    for outcome, label, true_label, size in session.execute(
        select(*columns).where(of.condition).order_by(Item.seq)
    ):
        if outcome is None and size is not None:
            break
        if outcome is ReviewOutcome.SKIP or outcome is None:
            outcomes.append("deleted" if outcome is None else "skipped")
        else:
            outcomes.append("right" if label == true_label else "wrong")
    return outcomes


def training_examples(session: Session, model_id: str) -> Iterator[TrainingExample]:
    """The abstained images of the model that have a label and are still there, one at a time."""
    query = (
        select(Item.id, Item.true_label, Item.subject, ReviewImageRow.content)
        .join(ReviewImageRow, ReviewImageRow.item_id == Item.id)
        .where(
            Item.model_id == model_id,
            Item.kind == ReviewKind.ABSTAINED,
            Item.outcome == ReviewOutcome.LABEL,
        )
        .order_by(Item.seq)
    )
    for row in session.execute(query.execution_options(yield_per=1)):
        item_id, label, subject, content = row
        assert label is not None  # by its outcome
        yield TrainingExample(item_id, label, subject, content)


# --- out of the queue -----------------------------------------------------------------------------------


def discard(session: Session, *conditions: ColumnElement[bool]) -> int:
    """Delete the images of these items, `AT_A_TIME` at most, and the rows of abstained ones; return how many.
    A row of the audit sample stays, without its subject's name, and counts as before."""
    ids = list(session.scalars(select(Item.id).where(_DELETABLE, *conditions).limit(AT_A_TIME)))
    chosen = Item.id.in_(ids)
    delete_where(session, ReviewItemRow, chosen, Item.kind == ReviewKind.ABSTAINED)
    delete_where(session, ReviewImageRow, ReviewImageRow.item_id.in_(ids))
    session.execute(update(Item).where(chosen).values(bytes=None, subject=None))
    return len(ids)


def forget(session: Session, model_id: str) -> None:
    """Delete all items of the model."""
    delete_where(session, ReviewItemRow, Item.model_id == model_id)


def expire(session: Session, model_id: str, keep_days: float) -> int:
    """Delete what is older than is kept, some at a time; return how many."""
    return discard(session, Item.model_id == model_id, Item.created_at < ago(86_400 * keep_days))


def keep_within(session: Session, model_id: str, keep_bytes: int) -> int:
    """Delete what takes more bytes than is kept, some at a time; return how many.
    Images of the audit sample that wait for an answer stay: whoever sends many others could delete them
    unanswered."""
    of_model = Item.model_id == model_id
    if (session.scalar(select(func.sum(Item.bytes)).where(of_model)) or 0) <= keep_bytes:
        return 0  # the order of all images costs much more
    waits_for_audit = _UNANSWERED & (Item.kind == ReviewKind.AUDIT)
    # The last to go come first: what waits for an answer, of the audit sample before the abstained.
    order = (case((waits_for_audit, 0), (_UNANSWERED, 1), else_=2), Item.seq.desc())
    total = func.sum(Item.bytes).over(order_by=order)
    sizes = select(Item.id, total.label("total")).where(of_model, _STORED).subquery()
    beyond = Item.id.in_(select(sizes.c.id).where(sizes.c.total > keep_bytes))
    return discard(session, beyond, ~waits_for_audit)
