"""What is cleared away beside the sweep: artifacts that nothing names, and what lies unused on this host.

The latter once an hour in each data folder: what killed processes left, and copies that were not used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock, Thread

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

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


class Housekeeper:
    """Keeps house on a thread of its own, so that a store that is away holds up nobody."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._busy = Lock()

    def start(self) -> None:
        """Begin, unless it is still at it. What fails is logged: the next start tries again."""
        if self._busy.acquire(blocking=False):
            try:
                Thread(target=self._run, name="house", daemon=True).start()
            except RuntimeError:  # no thread can be had now
                self._busy.release()
                raise

    def close(self, timeout: float) -> None:
        """Wait so many seconds for it, and let it begin no more."""
        self._busy.acquire(timeout=timeout)

    def _run(self) -> None:
        try:
            keep_house(self._database, self._settings)
        except (SQLAlchemyError, OSError) as error:
            logger.warning("house could not be kept and will be tried again: %s", error)
        except Exception:  # whatever it was: jobs must not be lost for it
            logger.exception("house could not be kept; it is tried again")
        finally:
            self._busy.release()


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
    except Exception:  # a store's driver has errors of its own
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
