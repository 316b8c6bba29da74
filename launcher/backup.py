"""`masktune backup` and `masktune restore`: copy the service's rows and files to a folder, and back.

Like the parts of the service, they access the database and the store directly instead of through the API.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.startup import read_settings, report_failure
from masktune.cli.output import REFUSED, fail

if TYPE_CHECKING:
    from core.settings import Settings
    from core.storage.artifacts import Artifacts
    from core.storage.backup import Contents


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", show_default=False)],
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Skip the files: the store has its own backup.")
    ] = False,
    review_images: Annotated[
        bool, typer.Option("--review-images", help="Include the images of review queues and their subjects.")
    ] = False,
) -> None:
    """Back up the service into a folder. The service may keep running."""
    from core.storage.backup import save

    settings = read_settings()
    with report_failure(lambda why: fail(f"the backup failed: {why}", REFUSED)):
        artifacts = None if tables_only else _artifacts(settings)
        _tell("saved", save(settings.database, artifacts, folder, review_images=review_images))


def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `masktune backup` wrote.", show_default=False)],
) -> None:
    """Restore a backup into an empty service, on SQLite or PostgreSQL. The service must not be running."""
    from core.storage.backup import restore as restored

    settings = read_settings()
    with report_failure(lambda why: fail(f"the restore failed: {why}", REFUSED)):
        _tell("restored", restored(folder, settings.database, _artifacts(settings)))


def _artifacts(settings: Settings) -> Artifacts:
    from core.storage.artifacts import Artifacts

    return Artifacts(settings.storage, cache=settings.scratch / "cache")


def _tell(what: str, contents: Contents) -> None:
    rows = sum(contents.rows.values())
    tables, files = len(contents.rows), f"{contents.files:,} files ({contents.bytes:,} bytes)"
    print(f"{what}: {rows:,} rows in {tables} tables, {files}")
