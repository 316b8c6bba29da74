"""`masktune webhooks …`: who is told of events, for a key of the scope admin."""

from __future__ import annotations

from typing import Annotated

import typer

import masktune
from masktune.cli import completion
from masktune.cli.options import Most
from masktune.cli.output import REFUSED, age, fail, figure
from masktune.cli.session import Session, with_session
from masktune.contract.vocabulary import WebhookEvent

app = typer.Typer(
    no_args_is_help=True,
    help="Say who is told of which events, with a key of the scope admin; see what became of the messages.",
)
Id = Annotated[
    str,
    typer.Argument(
        metavar="WEBHOOK", help="Id (whk_…).", show_default=False, autocompletion=completion.webhooks
    ),
]
Events = Annotated[
    list[WebhookEvent] | None, typer.Option("--event", help="What it is told of; may be repeated.")
]


@app.command()
@with_session
def create(
    session: Session,
    to: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="Where messages go: https://HOST/PATH.", show_default=False),
    ],
    event: Events = None,
    description: Annotated[str | None, typer.Option(help="A note of your own.")] = None,
) -> None:
    """Create a webhook, by default for all events. Its secret is shown once."""
    events = [each.value for each in event or WebhookEvent]
    _show_secret(session, session.client.webhooks.create(to, events, description=description))


@app.command("list")
@with_session
def list_(session: Session) -> None:
    """List webhooks, newest first."""
    session.show_all(
        session.client.webhooks.list(),
        ("id", "url", "events", "description", "disabled"),
        lambda hook: (
            hook.id,
            hook.url,
            ", ".join(hook.events),
            hook.description or "–",
            hook.disabled_reason or "–",
        ),
    )


@app.command()
@with_session
def edit(
    session: Session,
    id: Id,
    to: Annotated[str | None, typer.Option(help="The new address.", show_default=False)] = None,
    event: Events = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether messages are sent.")
    ] = None,
) -> None:
    """Change the address or the events, disable or enable it."""
    changes: masktune.WebhookChanges = {}
    if to is not None:
        changes["url"] = to
    if event:
        changes["events"] = [each.value for each in event]
    if enable is not None:
        changes["enabled"] = enable
    session.client.webhooks.update(id, **changes)
    session.say(f"{id} is changed")


@app.command()
@with_session
def rotate(session: Session, id: Id) -> None:
    """Replace the secret. It is shown once, and the old one signs too for a day."""
    _show_secret(session, session.client.webhooks.rotate(id))


@app.command()
@with_session
def delete(session: Session, id: Id) -> None:
    """Delete a webhook and its deliveries."""
    session.client.webhooks.delete(id)
    session.say(f"{id} is deleted")


@app.command()
@with_session
def test(session: Session, id: Id) -> None:
    """Send a message that says nothing."""
    session.show(session.client.webhooks.test(id), lambda row: f"{row.id} is {row.outcome}")


@app.command()
@with_session
def deliveries(session: Session, id: Id, most: Most = 20) -> None:
    """List the messages to a webhook, newest first, and what became of them."""
    session.show_all(
        session.client.webhooks.deliveries(id, limit=min(most, 100)),
        ("id", "type", "created", "outcome", "attempts", "status", "error", "next"),
        lambda row: (
            row.id,
            row.type,
            age(row.created_at),
            row.outcome,
            str(row.attempts),
            figure(row.last_status),
            row.last_error or "–",
            age(row.next_attempt_at),
        ),
        most=most,
    )


@app.command()
@with_session
def replay(
    session: Session,
    id: Id,
    delivery: Annotated[str, typer.Argument(help="Id of the message (msg_…).", show_default=False)],
) -> None:
    """Send a message again, with the same id."""
    session.show(session.client.webhooks.replay(id, delivery), lambda row: f"{row.id} is {row.outcome}")


def _show_secret(session: Session, webhook: masktune.NewWebhook) -> None:
    if webhook.secret is None:  # a replay: the first answer, which held the secret, was lost
        fail(f"the secret of {webhook.id} was lost in transit; rotate it", REFUSED)
    session.show(webhook, lambda hook: f"{hook.id} signs with this secret, shown only once:\n{hook.secret}")
