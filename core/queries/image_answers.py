"""SQL for what people said of the images that reports list.
Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.session import db_now
from core.tables import ImageAnswersRow, JobRow


def newest(session: Session, dataset_id: str) -> ImageAnswersRow | None:
    """The newest review of images of this data set, if there is any."""
    query = select(ImageAnswersRow).where(ImageAnswersRow.dataset_id == dataset_id)
    query = query.order_by(ImageAnswersRow.updated_at.desc(), ImageAnswersRow.job_id.desc())
    return session.scalars(query.limit(1)).first()


def put(
    session: Session,
    job: JobRow,
    answers: Mapping[int, bool | None],
    *,
    needed: int | None,
    by: str | None,
    by_name: str | None,
) -> ImageAnswersRow:
    """Keep the answers, as in `ImageAnswersRow`, instead of earlier ones.
    The caller holds the job's lock."""
    row = session.get(ImageAnswersRow, job.id)
    if row is None:
        row = ImageAnswersRow(job_id=job.id, dataset_id=job.dataset_id)
        session.add(row)
    row.answers, row.needed = {str(sample): lacks for sample, lacks in answers.items()}, needed
    row.created_by, row.created_by_name, row.updated_at = by, by_name, db_now()
    session.flush()
    session.refresh(row)
    return row
