"""SQL for webhooks: the outbox of their messages, and its delivery.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.queries.rows import add as add
from core.queries.rows import delete_where, expired, get_row
from core.session import ago, db_now
from core.tables import DeliveryRow, ModelRow, WebhookRow
from core.tables.webhooks import MOST_ERROR
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import WebhookEvent

MOST_WAITING = 1000
"""Limit of a webhook's messages that wait: of more, the oldest are given up."""
LEASE_SECONDS = 60.0
"""How long an attempt belongs to the process that makes it, which takes a quarter of that at most."""
_GONE = 410
_WAITING = DeliveryRow.next_attempt_at.is_not(None)
_GIVEN_UP = {"given_up_at": db_now(), "next_attempt_at": None}


def publish(session: Session, event: WebhookEvent, data: Mapping[str, Any]) -> None:
    """Put a message to each webhook that listens to the event into the outbox: to be called in the
    transaction of the event, with which the messages are committed or are not."""
    # Locked like `datasets.keep`: a webhook that is being deleted must not fail the transaction of the event.
    enabled = select(WebhookRow).where(WebhookRow.disabled_at.is_(None))
    for webhook in session.scalars(enabled.with_for_update(read=True, key_share=True)).all():
        if event in webhook.events:
            send(session, webhook, event, data)


def publish_of_model(session: Session, event: WebhookEvent, row: ModelRow, *, status: str) -> None:
    """The same of what has become of a model."""
    facts = {"id": row.id, "url": f"/models/{row.id}", "name": row.name, "dataset": row.dataset_id}
    publish(session, event, facts | {"status": status})


def send(session: Session, webhook: WebhookRow, type: str, data: Mapping[str, Any]) -> DeliveryRow:
    """Put one message into the outbox."""
    return add(session, DeliveryRow(id=new_id("msg"), webhook_id=webhook.id, type=type, data=dict(data)))


def get(session: Session, webhook_id: str, *, lock: bool = False) -> WebhookRow:
    """The webhook, or `NotFound`."""
    return get_row(session, WebhookRow, webhook_id, "webhook", lock=lock)


def count_waiting(session: Session) -> int:
    """How many messages wait for a delivery."""
    return session.execute(select(func.count()).select_from(DeliveryRow).where(_WAITING)).scalar_one()


def disable(session: Session, row: WebhookRow, reason: str) -> None:
    """Send nothing to the webhook until it is enabled, and give up its messages that wait."""
    row.disabled_at, row.disabled_reason = db_now(), reason
    session.flush()
    of_webhook = update(DeliveryRow).where(DeliveryRow.webhook_id == row.id, _WAITING)
    session.execute(of_webhook.values(last_error=reason, **_GIVEN_UP))


def replay(session: Session, webhook: WebhookRow, delivery_id: str) -> DeliveryRow:
    """Let the message be sent again, at once and with all attempts, or raise `NotFound`."""
    row = session.get(DeliveryRow, delivery_id, with_for_update=True)
    if row is None or row.webhook_id != webhook.id:
        raise NotFound(f"webhook {webhook.id} has no delivery {delivery_id}; see the list of its deliveries")
    row.attempts, row.next_attempt_at = 0, db_now()
    row.delivered_at = row.given_up_at = None
    session.flush()
    session.refresh(row)
    return row


# --- the sender, run by every front --------------------------------------------------------------------


def due(session: Session) -> list[str]:
    """The ids of the webhooks that have a message to be sent now."""
    query = select(DeliveryRow.webhook_id).where(DeliveryRow.next_attempt_at <= ago(0.0))
    return list(session.scalars(query.distinct()))


def claim(session: Session, webhook_id: str) -> tuple[WebhookRow, DeliveryRow] | None:
    """The webhook's next message that is due, for `LEASE_SECONDS` no other process's; None if there is none.

    A process that is killed meanwhile leaves the message to the next claim after that.
    """
    waiting = select(DeliveryRow.id).where(DeliveryRow.webhook_id == webhook_id, _WAITING)
    too_many = waiting.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id.desc()).offset(MOST_WAITING)
    error = f"more than {MOST_WAITING} messages waited"
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id.in_(too_many))
        .values(last_error=error, **_GIVEN_UP)
        .execution_options(synchronize_session=False)
    )
    row = session.scalar(
        select(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook_id, DeliveryRow.next_attempt_at <= ago(0.0))
        .order_by(DeliveryRow.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    row.attempts, row.next_attempt_at = row.attempts + 1, db_now() + LEASE_SECONDS
    session.flush()
    session.refresh(row)
    return get(session, webhook_id), row


def settle(
    session: Session, claimed: DeliveryRow, *, status: int | None, error: str | None, wait: float | None
) -> None:
    """Record the outcome of a claimed attempt: delivered if there is no `error`, else tried again in `wait`
    seconds, else given up. A message that was claimed or replayed meanwhile stays as it is.

    A receiver that answers 410 Gone wants no more messages: its webhook is disabled.
    """
    # Locked before the message, as by those who delete or disable the webhook.
    gone = get(session, claimed.webhook_id, lock=True) if status == _GONE else None
    if error is None:
        values: dict[str, Any] = {"delivered_at": db_now(), "next_attempt_at": None}
    else:
        values = _GIVEN_UP if wait is None else {"next_attempt_at": db_now() + wait}
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.id == claimed.id, DeliveryRow.next_attempt_at == claimed.next_attempt_at)
        .values(last_status=status, last_error=error and error[:MOST_ERROR], **values)
    )
    if gone is not None:
        disable(session, gone, "the receiver answered 410 Gone")


def purge(session: Session, *, older_than: float, span: float) -> int:
    """Delete messages older than `older_than` seconds that wait no longer, of these the oldest `span`
    seconds; return how many."""
    return delete_where(session, DeliveryRow, ~_WAITING, *expired(DeliveryRow.created_at, older_than, span))
