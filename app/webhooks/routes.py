"""`/webhooks`: an admin says who is told of which events, and looks at what became of the messages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.auth.deps import ADMIN, CallerFirst
from app.auth.idempotency import Idempotent
from app.http import lists
from app.http.deps import DatabaseDep, Reading, RootPathDep, Writing, shaped_like
from app.http.lists import DEFAULT_LIMIT, Cursor, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional, represent
from app.webhooks import service as webhooks
from app.webhooks.destinations import DestinationsDep
from core.queries import webhooks as queries
from core.queries.rows import newest_first
from core.tables import DeliveryRow, WebhookRow
from masktune.contract.base import Page
from masktune.contract.webhooks import Delivery, NewWebhook, Webhook, WebhookEdit, WebhookRequest

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=CallerFirst, dependencies=[ADMIN])

WebhookKey = Annotated[
    str,
    Path(description="Id of a webhook.", examples=["whk_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("whk", "webhook", "/webhooks"),
]
DeliveryKey = Annotated[
    str,
    Path(description="Id of a delivery.", examples=["msg_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("msg", "delivery", "/webhooks/{webhook_id}/deliveries"),
]


@router.post(
    "",
    status_code=201,
    response_model=NewWebhook,
    summary="Create a webhook",
    responses=problems(409, 422),
)
def create_webhook(
    body: WebhookRequest, once: Idempotent, destinations: DestinationsDep, root_path: RootPathDep
) -> Response:
    """Messages are signed and sent again as Standard Webhooks has it.
    Hosts that are not public are refused unless the operator allows them (`MASKTUNE_WEBHOOK_ALLOWED_HOSTS`).
    """
    return webhooks.create(once, body, destinations, root_path)


@router.get(
    "",
    response_model=Page[Webhook],
    summary="List webhooks, newest first",
    responses=NOT_MODIFIED | problems(422),
)
def list_webhooks(
    request: Request, session: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    rows = newest_first(session, WebhookRow, before=lists.decode(cursor), limit=limit + 1)
    return conditional(request, lists.page(rows, limit, webhooks.describe))


@router.get(
    "/{webhook_id}",
    response_model=Webhook,
    summary="Get a webhook",
    responses=NOT_MODIFIED | problems(404),
)
def get_webhook(request: Request, webhook_id: WebhookKey, session: Reading) -> Response:
    return conditional(request, webhooks.describe(queries.get(session, webhook_id)))


@router.patch(
    "/{webhook_id}",
    response_model=Webhook,
    summary="Change, disable or enable a webhook",
    responses=problems(404),
)
def edit_webhook(
    webhook_id: WebhookKey, changes: WebhookEdit, destinations: DestinationsDep, database: DatabaseDep
) -> Response:
    if "url" in changes.model_fields_set:
        destinations.check(changes.url)  # before the transaction: a name server may be slow
    with database.begin() as session:
        return represent(webhooks.edit(session, queries.get(session, webhook_id, lock=True), changes))


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Delete a webhook and its deliveries",
    responses=problems(404),
)
def delete_webhook(webhook_id: WebhookKey, session: Writing) -> None:
    session.delete(queries.get(session, webhook_id, lock=True))


@router.post(
    "/{webhook_id}/rotate",
    response_model=NewWebhook,
    summary="Replace the secret of a webhook",
    responses=problems(404),
)
def rotate_webhook(webhook_id: WebhookKey, session: Writing) -> Response:
    """For a day, messages are signed with the old secret too."""
    webhook = webhooks.rotate(session, queries.get(session, webhook_id, lock=True))
    return represent(webhook, headers={"Cache-Control": "no-store"})


@router.post(
    "/{webhook_id}/test",
    status_code=202,
    response_model=Delivery,
    summary="Send a message to a webhook",
    responses=problems(404, 409),
)
def test_webhook(webhook_id: WebhookKey, session: Writing) -> Response:
    """Its type is `webhook.test`; the list of deliveries says whether it arrived."""
    return represent(webhooks.test(session, queries.get(session, webhook_id, lock=True)), status=202)


@router.get(
    "/{webhook_id}/deliveries",
    response_model=Page[Delivery],
    summary="List the messages to a webhook, newest first",
    responses=NOT_MODIFIED | problems(404, 422),
)
def list_deliveries(
    request: Request,
    webhook_id: WebhookKey,
    session: Reading,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    of_webhook = {DeliveryRow.webhook_id: queries.get(session, webhook_id).id}
    before = lists.decode(cursor)
    rows = newest_first(session, DeliveryRow, before=before, limit=limit + 1, where=of_webhook)
    return conditional(request, lists.page(rows, limit, webhooks.describe_delivery))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    response_model=Delivery,
    summary="Send a message again",
    responses=problems(404, 409),
)
def replay_delivery(webhook_id: WebhookKey, delivery_id: DeliveryKey, session: Writing) -> Response:
    """With the same `webhook-id`, at once and with all attempts; also one that still waits."""
    row = queries.get(session, webhook_id, lock=True)
    return represent(webhooks.replay(session, row, delivery_id), status=202)
