"""`masktune audit`"""

from __future__ import annotations

from typing import Annotated

import typer

from masktune.cli.options import Most
from masktune.cli.output import age
from masktune.cli.session import Session, with_session


@with_session
def audit(
    session: Session,
    actor: Annotated[str | None, typer.Option(help="Only changes by this key (key_…).")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only changes by this operation: delete_dataset.")
    ] = None,
    object: Annotated[str | None, typer.Option(help="Only changes of this id or alias.")] = None,
    most: Most = 20,
) -> None:
    """List who changed what, newest first. Needs a key of the scope admin."""
    session.show_all(
        session.client.audit.list(actor=actor, action=action, object=object, limit=min(most, 100)),
        ("time", "actor", "name", "action", "object", "address", "request"),
        lambda entry: (
            age(entry.created_at),
            entry.actor,
            entry.actor_name or "–",
            entry.action,
            entry.object,
            entry.address or "–",
            entry.request_id,
        ),
        most=most,
    )
