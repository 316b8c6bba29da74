"""Webhooks: the requests and the answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from masktune.contract.base import ONE_LINE, Name, Shape, Storable, Strict, Time, WebhookEventName
from masktune.contract.vocabulary import WebhookEvent

Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=2000, pattern=ONE_LINE),
    Storable,
    Field(description="Where the messages go: `https://HOST/PATH`.", examples=["https://hooks.example/m"]),
]
Events = Annotated[
    list[Annotated[WebhookEvent, Field(strict=False)]],
    Field(min_length=1, max_length=len(WebhookEvent), description="What the webhook is told of."),
]


class WebhookRequest(Strict):
    """A webhook to create."""

    url: Url
    events: Events
    description: Name | None = None


class WebhookEdit(Strict):
    """A JSON merge patch (RFC 7396): a field that is left out stays as it is."""

    url: Url = Field(default_factory=str)
    events: Events = Field(default_factory=list)
    description: Name | None = Field(None, description="Null removes it.")
    enabled: bool = Field(False, description="False gives up the messages that wait.")


class Webhook(Shape):
    """An address that is told of events, without the secret of its signatures."""

    id: str
    url: str
    events: list[WebhookEventName]
    description: str | None = None
    created_by: str | None = None
    created_at: Time
    disabled_at: Time | None = Field(None, description="Since when nothing is sent; null if it is enabled.")
    disabled_reason: str | None = None


class NewWebhook(Webhook):
    """A webhook whose secret has just been made."""

    secret: str | None = Field(
        None,
        description="`whsec_…`, to verify signatures with. It is shown here and never again: an answer "
        "replayed for an Idempotency-Key has null. If it is lost, rotate it.",
    )


class Delivery(Shape):
    """A message to a webhook, and what became of it."""

    id: str = Field(description="The `webhook-id` of the message, the same at every attempt.")
    type: WebhookEventName = Field(description="The event, or `webhook.test`.")
    data: dict[str, Any] = Field(description="The `data` of the message.")
    created_at: Time = Field(description="The `timestamp` of the message.")
    attempts: int = Field(description="Since it was created or replayed.")
    next_attempt_at: Time | None = Field(None, description="Null if there will be none.")
    last_status: int | None = Field(None, description="HTTP status of the last answer.")
    last_error: str | None = Field(None, description="Why the last attempt failed.")
    delivered_at: Time | None = None
    given_up_at: Time | None = None

    @property
    def outcome(self) -> str:
        """`delivered`, `given up` or `waiting`."""
        return "delivered" if self.delivered_at else "given up" if self.given_up_at else "waiting"
