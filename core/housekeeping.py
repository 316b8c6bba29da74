"""What the sweep clears away: artifacts that nothing names any more, and what is unused on this host's disk.

The latter once an hour in each data folder: what killed processes left, and copies that were not used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import select

from core import trash
from core.artifacts import Artifacts
from core.leftovers import remove_abandoned
from core.session import Database
from core.settings import Settings
from core.tables import DatasetRow, JobRow
from core.vocabulary import ACTIVE

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
STAMP = ".tidied"
"""A file in scratch space whose time tells when this was done last, by whichever process."""


def keep_house(database: Database, settings: Settings) -> None:
    """Empty the trash; tidy what lies on this host, if nobody did within the hour."""
    trash.empty(database, settings)
    stamp = settings.scratch / STAMP
    if not _due(stamp):
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    try:
        _tidy(database, settings)
    except Exception:  # a store's driver has errors of its own, and the sweep has more to do than this
        logger.exception("the data folder could not be tidied; it is tried again in an hour")


def _due(stamp: Path) -> bool:
    try:
        return abs(time.time() - stamp.stat().st_mtime) > EVERY_SECONDS
    except FileNotFoundError:
        return True


def _tidy(database: Database, settings: Settings) -> None:
    scratch = settings.scratch
    work = {folder.name: folder for folder in (scratch / "work").glob("*")}
    active, read = _active(database, work)
    remove_abandoned(scratch.glob("import.*"))
    remove_abandoned((scratch / "uploads").glob("*"))
    remove_abandoned(folder for job_id, folder in work.items() if job_id not in active)
    # The front's and the worker's: they may share a data folder, and neither knows which it is.
    stores = [
        Artifacts(settings.storage, cache=cache)
        for cache in (settings.data_dir.absolute() / "cache", scratch / "cache")
    ]
    stores[0].tidy()
    for store in stores:
        store.copies.tidy(most=settings.cache_bytes, keep=read)


def _active(database: Database, job_ids: Collection[str]) -> tuple[set[str], set[str]]:
    """Which of these jobs have not ended, and the keys of all data sets and uploads that such jobs read."""
    unended = JobRow.state.in_(ACTIVE)
    with database.read() as session:
        active = set(session.scalars(select(JobRow.id).where(unended, JobRow.id.in_(job_ids))))
        used = select(DatasetRow).where(DatasetRow.id.in_(select(JobRow.dataset_id).where(unended)))
        return active, {
            key for row in session.scalars(used) for key in (row.artifact, row.source.get("upload")) if key
        }
