"""`masktune keys …`"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli import completion
from cli.output import REFUSED, age, fail
from cli.session import Session, connected

app = typer.Typer(
    no_args_is_help=True, help="Make keys for others and revoke them, with a key of the scope admin."
)


class Scope(StrEnum):
    """As the service names them; typer offers the values of an enum, not of a `Literal`, more than once."""

    READ = "read"
    PREDICT = "predict"
    TRAIN = "train"
    ADMIN = "admin"


@app.command()
@connected
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who or what will use it.", show_default=False)],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be given several times; by default read and predict."),
    ] = None,
) -> None:
    """Make a key. Its secret is shown once."""
    made = session.client.keys.create(name, [each.value for each in scope or (Scope.READ, Scope.PREDICT)])
    if made.secret is None:  # the first answer was lost on its way, and this is the second
        fail(f"the secret of {made.id} was lost on its way; revoke it and make another", REFUSED)
    session.show(
        made, lambda: f"{made.id} may {', '.join(made.scopes)}. Its secret, shown once:\n{made.secret}"
    )


@app.command("list")
@connected
def list_(session: Session) -> None:
    """Keys, newest first."""
    session.show_all(
        session.client.keys.list(),
        ("id", "name", "scopes", "made", "revoked"),
        lambda key: (key.id, key.name, ", ".join(key.scopes), age(key.created_at), age(key.revoked_at)),
    )


@app.command()
@connected
def revoke(
    session: Session,
    id: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="Its id, key_….", show_default=False, autocompletion=completion.keys
        ),
    ],
) -> None:
    """Let a key open nothing from now on."""
    session.client.keys.revoke(id)
    session.say(f"{id} is revoked")
