"""The tables of review queues: images that models were sent, for people to say what they show."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.session import db_now
from core.tables.base import Table
from masktune.contract.vocabulary import ReviewKind, ReviewOutcome

_WAITS = text("outcome IS NULL AND bytes IS NOT NULL")
_WAITING: dict[str, Any] = {"postgresql_where": _WAITS, "sqlite_where": _WAITS}


class ReviewItemRow(Table):
    """An image that a model was sent, what the model said of it, and what a person said.

    A row of the audit sample outlives its image, so that no deletion changes what the monitor has counted.
    """

    __tablename__ = "review_items"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    seq: Mapped[int]
    """Place in the order in which images of this kind were drawn for the model; given out under the lock of
    the model's row."""
    kind: Mapped[ReviewKind]
    calibration_id: Mapped[str | None] = mapped_column(String(40))
    max_risk: Mapped[float | None]
    risk_confidence: Mapped[float | None]
    """With the two above: the promise under which an image of the audit sample was answered. All three are
    None for an abstained one."""
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the image."""
    subject: Mapped[str | None] = mapped_column(String(200))
    """What the image shows, as the request names it; None once the image is deleted."""
    subject_sha256: Mapped[str | None] = mapped_column(String(64))
    label: Mapped[str | None]
    """The model's answer; None if it abstained."""
    prediction: Mapped[dict[str, Any]]
    """`masktune.contract.serving.predictions.Prediction` without its map, and the `threshold`."""
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Of the image; None once it is deleted."""
    outcome: Mapped[ReviewOutcome | None]
    """None until a person has answered."""
    true_label: Mapped[str | None]
    """The class that a person named; set exactly if `outcome` is `label`."""
    answered_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller."""
    answered_by_name: Mapped[str | None] = mapped_column(String(100))
    answered_at: Mapped[float | None]
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    """Id of the caller to whom the image was handed out until `claimed_until`."""
    claimed_until: Mapped[float | None]
    created_at: Mapped[float] = mapped_column(server_default=db_now())

    __table_args__ = (
        Index("review_items_order", "model_id", "kind", "seq", unique=True),
        Index("review_items_newest", "created_at", "id"),
        Index("review_items_copies", "model_id", "kind", "sha256"),
        Index("review_items_model", "model_id", "created_at", "id"),
        Index("review_items_answered", "answered_by", "answered_at", "id"),
        Index("review_items_waiting", "created_at", "seq", **_WAITING),
        # The order in which images are handed out, of all queues and of one.
        Index("review_items_next", "kind", "created_at", "seq", **_WAITING),
        Index("review_items_next_of_model", "model_id", "kind", "created_at", "seq", **_WAITING),
    )


class ReviewImageRow(Table):
    """The bytes of an image as they were sent, in a table of their own: backups leave it out, lists do not
    read it."""

    __tablename__ = "review_images"

    item_id: Mapped[str] = mapped_column(ForeignKey("review_items.id", ondelete="CASCADE"), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
