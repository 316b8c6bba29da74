"""`masktune backup` and `masktune restore`: the service's rows and files in a folder, and back.

They work on the database and the store themselves, as the parts of the service do, and not over the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import REFUSED, fail
from cli.starting import read_settings, telling

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
    from core.backup import save

    settings = read_settings()
    with telling(lambda why: fail(f"the backup failed: {why}", REFUSED)):
        _tell("saved", save(settings.database, None if tables_only else _artifacts(settings), folder))


def restore(
    folder: Annotated[Path, typer.Argument(help="What `masktune backup` has filled.", show_default=False)],
) -> None:
    """Fill an empty service from a folder, on SQLite or PostgreSQL. Nothing may run on it meanwhile."""
    from core.backup import restore as restored

    settings = read_settings()
    with telling(lambda why: fail(f"the restore failed: {why}", REFUSED)):
        _tell("restored", restored(folder, settings.database, _artifacts(settings)))


def _artifacts(settings: Settings) -> Artifacts:
    from core.artifacts import Artifacts

    return Artifacts(settings.storage, cache=settings.scratch / "cache")


def _tell(what: str, made: Contents) -> None:
    rows = sum(made.rows.values())
    print(f"{what}: {rows:,} rows of {len(made.rows)} tables, {made.files:,} files of {made.bytes:,} bytes")
