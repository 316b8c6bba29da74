"""The tables of webhooks, and of the messages to them: the outbox and the log of their deliveries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from core.session import db_now
from core.tables.base import Table

MOST_ERROR = 200  # characters
_WAITING = text("next_attempt_at IS NOT NULL")


class WebhookRow(Table):
    """An address that is told of events."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]]  # members of `WebhookEvent`
    description: Mapped[str | None] = mapped_column(String(100))
    # `whsec_` and base64: stored as it is, because every message is signed with it.
    secret: Mapped[str] = mapped_column(String(100))
    # The one before, which signs too until then.
    old_secret: Mapped[str | None] = mapped_column(String(100))
    old_secret_until: Mapped[float | None]
    created_by: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    disabled_at: Mapped[float | None]
    disabled_reason: Mapped[str | None] = mapped_column(String(200))


class DeliveryRow(Table):
    """A message to a webhook, written in the transaction of its event."""

    __tablename__ = "deliveries"

    # The `webhook-id` of the message, the same at every attempt.
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(32))  # a `WebhookEvent`, or `webhook.test`
    data: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(server_default=db_now())
    # During an attempt, when another process may make it again; None once there is nothing left to try.
    next_attempt_at: Mapped[float | None] = mapped_column(server_default=db_now())
    attempts: Mapped[int] = mapped_column(default=0)
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(MOST_ERROR))
    delivered_at: Mapped[float | None]
    given_up_at: Mapped[float | None]

    __table_args__ = (
        Index("deliveries_newest", "webhook_id", "created_at", "id"),
        Index(
            "deliveries_next",
            "webhook_id",
            "next_attempt_at",
            postgresql_where=_WAITING,
            sqlite_where=_WAITING,
        ),
    )
