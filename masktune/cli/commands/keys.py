"""What an admin looks after: `masktune keys …`, `masktune audit`, `masktune storage`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import masktune
from masktune.cli import completion
from masktune.cli.options import Most
from masktune.cli.output import REFUSED, age, fail, new_table
from masktune.cli.session import Session, with_session
from masktune.contract.report.text.formats import byte_size
from masktune.contract.report.text.names import STORED_NAMES
from masktune.contract.vocabulary import Scope

app = typer.Typer(
    no_args_is_help=True,
    help="Create and revoke keys, with a key of the scope admin; ask what your own key may do.",
)


@app.command()
@with_session
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who or what will use the key.", show_default=False)],
    owner: Annotated[str | None, typer.Option(help="Who answers for the key.")] = None,
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may do; may be repeated. Default: read and predict."),
    ] = None,
) -> None:
    """Create a key. Its secret is shown once."""
    scopes = [each.value for each in scope or (Scope.READ, Scope.PREDICT)]
    key = session.client.keys.create(name, scopes, owner=owner)
    if key.secret is None:  # a replay: the first answer, which held the secret, was lost
        fail(f"the secret of {key.id} was lost in transit; revoke the key and create another", REFUSED)
    session.show(
        key, lambda key: f"{key.id} may {', '.join(key.scopes)}. Its secret, shown only once:\n{key.secret}"
    )


@app.command()
def first(
    file: Annotated[
        Path | None,
        typer.Option(
            envvar="MASKTUNE_FIRST_KEY_FILE", help="The file that the service wrote.", show_default=False
        ),
    ] = None,
) -> None:
    """Show the secret of the first admin key, which the service made. Run it where the service runs."""
    if file is None:
        fail("the service makes no first key: MASKTUNE_FIRST_KEY_FILE is not set", REFUSED)
    try:
        print(file.read_text())
    except FileNotFoundError:
        fail(f"there is no {file}: the service makes no key if MASKTUNE_API_KEYS names one", REFUSED)
    except OSError as error:
        fail(f"{file}: {error.strerror}", REFUSED)


@app.command("list")
@with_session
def list_(session: Session) -> None:
    """List keys, newest first."""
    session.show_all(
        session.client.keys.list(),
        ("id", "name", "owner", "scopes", "created", "revoked"),
        lambda key: (
            key.id,
            key.name,
            key.owner or "–",
            ", ".join(key.scopes),
            age(key.created_at),
            age(key.revoked_at),
        ),
    )


@app.command()
@with_session
def revoke(
    session: Session,
    id: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="Id of the key (key_…).", show_default=False, autocompletion=completion.keys
        ),
    ],
) -> None:
    """Revoke a key. The service no longer accepts it."""
    session.client.keys.revoke(id)
    session.say(f"{id} is revoked")


@app.command()
@with_session
def whoami(session: Session) -> None:
    """Show what your own key may do. Needs no particular scope."""
    session.show(session.client.keys.whoami(), _rights)


def _rights(own: masktune.OwnKey) -> str:
    if own.open:
        return "the service requires no key: everything is allowed"
    key = "an operator's key" if own.id is None else f"{own.id} ({own.name})"
    return f"{key} may {', '.join(own.scopes)}"


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


@with_session
def storage(session: Session) -> None:
    """Show what fills the store, its largest parts, and what may go. Needs a key of the scope admin."""
    storage_use, grid = session.client.storage(), new_table()
    grid.add_row("free", byte_size(storage_use.free))
    parts = {"": storage_use.kinds, "largest": storage_use.largest, "may go": storage_use.removable}
    for part, name, size in ((part, *row) for part, sizes in parts.items() for row in sizes.items()):
        grid.add_row(part, byte_size(size), STORED_NAMES.get(name, name))
    session.show(storage_use, lambda _: grid)
