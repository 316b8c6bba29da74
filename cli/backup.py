"""`masktune backup` and `masktune restore`: the service's rows and files in a folder, and back.

They work on the database and the store themselves, as the parts of the service do, and not over the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import REFUSED, fail
from cli.serve import read_settings

if TYPE_CHECKING:
    from core.artifacts import Artifacts
    from core.backup import Contents
    from core.settings import Settings


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)],
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Leave the files: the store has a backup of its own.")
    ] = False,
) -> None:
    """Copy the service into a folder. It may go on meanwhile."""
    from sqlalchemy.exc import SQLAlchemyError

    from core.backup import NotRestorable, save

    settings = read_settings()
    try:
        made = save(settings.database, None if tables_only else _artifacts(settings), folder)
    except (NotRestorable, SQLAlchemyError, OSError) as error:
        fail(str(error).splitlines()[0], REFUSED)
    _tell("saved", made)


def restore(
    folder: Annotated[Path, typer.Argument(help="What `masktune backup` has filled.", show_default=False)],
) -> None:
    """Fill an empty service from a folder, on SQLite or PostgreSQL. Nothing may run on it meanwhile."""
    from sqlalchemy.exc import SQLAlchemyError

    from core.backup import NotRestorable
    from core.backup import restore as restored

    settings = read_settings()
    try:
        made = restored(folder, settings.database, _artifacts(settings))
    except (NotRestorable, SQLAlchemyError, OSError) as error:
        fail(str(error).splitlines()[0], REFUSED)
    _tell("restored", made)


def _artifacts(settings: Settings) -> Artifacts:
    from core.artifacts import Artifacts

    return Artifacts(settings.storage, cache=settings.scratch / "cache")


def _tell(what: str, made: Contents) -> None:
    rows = sum(made.rows.values())
    print(f"{what}: {rows:,} rows of {len(made.rows)} tables, {made.files:,} files of {made.bytes:,} bytes")
