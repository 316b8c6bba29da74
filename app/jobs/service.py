"""Operations on existing jobs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from app.deps import Services
from app.jobs import quotas
from core.errors import NotFound, NotReported
from core.queries import datasets, jobs, registry
from core.session import after_commit
from core.tables import JobRow
from masktune.contract.vocabulary import JobKind, Stage

MEDIA_TYPES = {".parquet": "application/vnd.apache.parquet", ".csv": "text/csv; charset=utf-8"}


def resume(services: Services, session: Session, job_id: str) -> JobRow:
    """Queue the job again. Raises `NotFound` if something that it reads or has made was deleted."""
    row = jobs.resume(session, job_id)
    if row.dataset_id is not None:
        datasets.keep(session, row.dataset_id)
    registry.keep(session, jobs.models_read(row.inputs, row.params) | set(row.models.values()))
    quotas.check(session, services.settings, row)
    after_commit(session, partial(services.notifier.notify, row.id))
    return row


def predictions(services: Services, row: JobRow) -> tuple[Path, str]:
    """Return the file that a predict job wrote, and its media type."""
    if row.kind is not JobKind.PREDICT:
        raise NotFound(f"job {row.id} is not a predict job; start one with POST /jobs/predict")
    result = row.done.get(Stage.PREDICT)
    if result is None:
        raise NotReported(f"job {row.id} is {row.state.value}; its file is available once it has succeeded")
    file = services.artifacts.folder(result["artifact"]) / result["file"]
    return file, MEDIA_TYPES[file.suffix]
