"""Reads that `core.queries` does not have yet."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.tables import JobRow
from core.vocabulary import ACTIVE


def jobs_using_model(session: Session, model_id: str) -> list[str]:
    """Ids of the jobs that have not ended and read or make this model. Active jobs are few."""
    rows = session.scalars(select(JobRow).where(JobRow.state.in_(ACTIVE)))
    return [row.id for row in rows if model_id in _models(row)]


def _models(row: JobRow) -> set[object]:
    made = row.inputs.get("model_ids") or {}
    return {row.inputs.get("model"), row.params.get("pretrained"), *made.values(), *row.models.values()}
