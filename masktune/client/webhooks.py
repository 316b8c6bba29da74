"""Webhooks: who is told of events, and what became of the messages. All needs the scope `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from masktune.client.calls import call, create, fetch, get, pages, segment
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.wire import EmittingFlow, Flow, Request
from masktune.contract.webhooks import Delivery, NewWebhook, Webhook


class WebhookChanges(TypedDict, total=False):
    """What an update changes; a field that is left out stays as it is."""

    url: str
    events: Sequence[str]
    description: str | None
    enabled: bool
    """False gives up the messages that wait."""


def create_webhook(
    url: str, events: Sequence[str], *, description: str | None = None, idempotency_key: str | None = None
) -> Flow[NewWebhook]:
    """Create a webhook. Its `secret`, to verify signatures with, is in this answer only."""
    body = {"url": url, "events": list(events), "description": description}
    return call(create("/webhooks", json=body, key=idempotency_key), NewWebhook)


def list_webhooks(*, limit: int | None = None) -> EmittingFlow[Webhook]:
    """Iterate over all webhooks, newest first. `limit` is the page size."""
    return pages(get("/webhooks", limit=limit), Webhook)


def get_webhook(webhook: str) -> Flow[Webhook]:
    """Get one webhook by its id."""
    return call(get(_path(webhook)), Webhook)


def update_webhook(webhook: str, **changes: Unpack[WebhookChanges]) -> Flow[Webhook]:
    """Change, disable or enable a webhook."""
    return call(Request(method="PATCH", path=_path(webhook), json=changes, repeatable=True), Webhook)


def delete_webhook(webhook: str) -> Flow[None]:
    """Delete a webhook and its deliveries."""
    yield from fetch(Request(method="DELETE", path=_path(webhook), repeatable=True))


def rotate_webhook(webhook: str) -> Flow[NewWebhook]:
    """Replace the secret; the old one signs too for a day."""
    return call(Request(method="POST", path=f"{_path(webhook)}/rotate"), NewWebhook)


def send_test(webhook: str) -> Flow[Delivery]:
    """Send a message of the type `webhook.test`."""
    return call(Request(method="POST", path=f"{_path(webhook)}/test"), Delivery)


def list_deliveries(webhook: str, *, limit: int | None = None) -> EmittingFlow[Delivery]:
    """Iterate over the messages to a webhook, newest first. `limit` is the page size."""
    return pages(get(f"{_path(webhook)}/deliveries", limit=limit), Delivery)


def replay_delivery(webhook: str, delivery: str) -> Flow[Delivery]:
    """Send a message again, with the same id."""
    path = f"{_path(webhook)}/deliveries/{segment(delivery)}/replay"
    return call(Request(method="POST", path=path), Delivery)


def _path(webhook: str) -> str:
    return f"/webhooks/{segment(webhook)}"


class Webhooks(Resource[D]):
    """`client.webhooks`."""

    create = Operation(create_webhook)
    list = Listing(list_webhooks)
    get = Operation(get_webhook)
    update = Operation(update_webhook)
    delete = Operation(delete_webhook)
    rotate = Operation(rotate_webhook)
    test = Operation(send_test)
    deliveries = Listing(list_deliveries)
    replay = Operation(replay_delivery)
