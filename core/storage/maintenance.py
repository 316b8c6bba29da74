"""Cleanup alongside the sweep: artifacts that no row names, and unused files on this host.

The host's files (leftovers of killed processes, unused copies) are cleaned once an hour per data folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from threading import Lock, Thread

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core.session import Database
from core.settings import Settings
from core.storage import trash
from core.storage.artifacts import Artifacts
from core.storage.copies import remove_abandoned
from core.tables import DatasetRow, JobRow
from masktune.contract.vocabulary import ACTIVE

logger = logging.getLogger(__name__)

EVERY_SECONDS = 3600.0
STAMP = ".tidied"
"""A file in scratch space; its modification time is that of the last cleanup by any process."""


class Maintenance:
    """Runs the cleanup on its own thread, so that an unreachable store delays nothing else."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database, self._settings = database, settings
        self._busy = Lock()

    def start(self) -> None:
        """Start the cleanup unless it is still running. Errors are logged; the next start tries again."""
        if self._busy.acquire(blocking=False):
            try:
                Thread(target=self._run, name="maintenance", daemon=True).start()
            except RuntimeError:  # no thread could be started
                self._busy.release()
                raise

    def close(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a running cleanup, and prevent further ones."""
        self._busy.acquire(timeout=timeout)

    def _run(self) -> None:
        try:
            run_maintenance(self._database, self._settings)
        except (SQLAlchemyError, OSError) as error:
            logger.warning("maintenance failed: %s; retrying", error)
        except Exception:  # a failed cleanup must not cost any job
            logger.exception("maintenance failed; retrying")
        finally:
            self._busy.release()


def run_maintenance(database: Database, settings: Settings) -> None:
    """Empty the trash; clean up this host's files unless any process did so within the last hour."""
    trash.empty(database, settings)
    stamp = settings.scratch / STAMP
    if not _due(stamp):
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    try:
        _tidy(database, settings)
    except Exception:  # store drivers raise exceptions of their own
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
    remove_abandoned((scratch / "uploads").glob("*"))
    remove_abandoned(folder for job_id, folder in work.items() if job_id not in active)
    # Both the front's cache and the worker's: the two may share a data folder.
    stores = [
        Artifacts(settings.storage, cache=cache)
        for cache in (settings.data_dir.absolute() / "cache", scratch / "cache")
    ]
    stores[0].tidy()
    for store in stores:
        store.copies.tidy(most=settings.cache_bytes, keep=read)


def _active(database: Database, job_ids: Collection[str]) -> tuple[set[str], set[str]]:
    """The active ones of these jobs, and the keys of all data sets and uploads that active jobs read."""
    unended = JobRow.state.in_(ACTIVE)
    with database.read() as session:
        active = set(session.scalars(select(JobRow.id).where(unended, JobRow.id.in_(job_ids))))
        used = select(DatasetRow).where(DatasetRow.id.in_(select(JobRow.dataset_id).where(unended)))
        return active, {
            key for row in session.scalars(used) for key in (row.artifact, row.source.get("upload")) if key
        }
