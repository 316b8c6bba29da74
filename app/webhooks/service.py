"""Create, change and describe webhooks."""

from __future__ import annotations

import base64
import secrets

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Once, fingerprint
from app.http.caller_ids import public_id
from app.http.responses import represent
from app.webhooks.destinations import Destinations
from core.errors import Conflict
from core.queries import webhooks
from core.queries.rows import newest_first
from core.session import db_now
from core.tables import DeliveryRow, WebhookRow
from masktune.contract.ids import new_id
from masktune.contract.webhooks import Delivery, NewWebhook, Webhook, WebhookEdit, WebhookRequest

MOST = 20
"""Limit of webhooks. Each event that ends a job reads them all."""
TEST = "webhook.test"
"""The type of a message that was asked for, whatever the webhook listens to."""
ROTATION_SECONDS = 86_400.0
"""How long the secret before the current one signs too."""


def create(once: Once, request: WebhookRequest, destinations: Destinations, root_path: str) -> Response:
    """Answer 201 with the secret. The response stored for the Idempotency-Key does not contain it."""
    answers: list[Response] = []

    def make(session: Session, _: object) -> Response:
        if len(newest_first(session, WebhookRow, before=None, limit=MOST)) == MOST:
            raise Conflict(f"there are already {MOST} webhooks, which is the limit; delete one")
        row = WebhookRow(
            id=new_id("whk"),
            url=request.url,
            events=sorted(set(request.events)),
            description=request.description,
            secret=_new_secret(),
            created_by=once.caller,
        )
        webhook = dict(describe(webhooks.add(session, row)))
        # no-store keeps the secret out of caches along the way.
        headers = {"Location": f"{root_path}/webhooks/{row.id}", "Cache-Control": "no-store"}
        answers.append(represent(NewWebhook(**webhook, secret=row.secret), status=201, headers=headers))
        return represent(NewWebhook(**webhook), status=201, headers=headers)

    stored = once.run_planned(fingerprint(request), lambda: destinations.check(request.url), make)
    return answers[0] if answers else stored


def edit(session: Session, row: WebhookRow, changes: WebhookEdit) -> Webhook:
    """Change the locked row by the fields that are set."""
    for name in changes.model_fields_set - {"enabled"}:
        setattr(row, name, getattr(changes, name))
    if "enabled" in changes.model_fields_set:
        row.disabled_at = row.disabled_reason = None
        if not changes.enabled:
            webhooks.disable(session, row, "an admin disabled it")
    session.flush()
    session.refresh(row)
    return describe(row)


def rotate(session: Session, row: WebhookRow) -> NewWebhook:
    """Give the locked webhook another secret."""
    row.old_secret, row.secret = row.secret, _new_secret()
    row.old_secret_until = db_now() + ROTATION_SECONDS
    session.flush()
    return NewWebhook(**dict(describe(row)), secret=row.secret)


def test(session: Session, row: WebhookRow) -> Delivery:
    """Send the locked webhook a message without news. Raises `Conflict` if it is disabled."""
    _check_enabled(row)
    return describe_delivery(webhooks.send(session, row, TEST, {"id": row.id, "url": f"/webhooks/{row.id}"}))


def replay(session: Session, row: WebhookRow, delivery_id: str) -> Delivery:
    """Send the locked webhook a message again. Raises `NotFound`, or `Conflict` if it is disabled."""
    _check_enabled(row)
    return describe_delivery(webhooks.replay(session, row, delivery_id))


def describe(row: WebhookRow) -> Webhook:
    """Convert the row to the shape of the API."""
    fields = {name: getattr(row, name) for name in Webhook.model_fields}
    return Webhook(**fields | {"created_by": public_id(row.created_by)})


def describe_delivery(row: DeliveryRow) -> Delivery:
    """Convert the row to the shape of the API."""
    return Delivery.model_validate(row, from_attributes=True)


def _check_enabled(row: WebhookRow) -> None:
    if row.disabled_at is not None:
        raise Conflict(f"webhook {row.id} is disabled ({row.disabled_reason}); enable it first")


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
