"""Job and event rows as the API tells them."""

from __future__ import annotations

from app.locations import Locate, located
from app.schemas.jobs import Event, Job, Progress
from core.tables import EventRow, JobRow
from core.vocabulary import STAGES, JobKind, JobState, Stage

_REPORTING = frozenset(kind for kind, stages in STAGES.items() if Stage.EVALUATE in stages)


def describe(row: JobRow, locate: Locate) -> Job:
    """The job as it is now."""
    progress = Progress.model_validate({"stage": row.stage, **row.progress})
    if row.state is JobState.SUCCEEDED:
        progress.fraction, progress.eta_seconds = 1.0, 0.0
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,
        stage=row.stage,
        dataset=row.dataset_id,
        progress=progress,
        attempt=row.attempt,
        params=row.params,
        inputs={name: value for name, value in row.inputs.items() if name in ("model", "mask_set")},
        models=row.models,
        metrics=row.metrics,
        error=None if row.error is None else located(row.error, locate),
        events=row.event_seq,
        created_at=row.created_at,
        queued_at=row.times.get(JobState.QUEUED),
        started_at=row.times.get(JobState.RUNNING),
        cancelling_at=row.times.get(JobState.CANCELLING),
        ended_at=row.ended_at,
        links=_links(row, locate),
    )


def describe_event(row: EventRow, locate: Locate) -> Event:
    """The event with its number."""
    error = row.data.get("error")
    data = {**row.data, "error": located(error, locate)} if isinstance(error, dict) else row.data
    return Event.model_validate({"id": row.seq, "type": row.type, "at": row.at, "data": data})


def _links(row: JobRow, locate: Locate) -> dict[str, str]:
    here = locate(f"/jobs/{row.id}")
    links = {"self": here, "events": f"{here}/events"}
    if row.state is JobState.SUCCEEDED and row.kind in _REPORTING:
        links["report"] = f"{here}/report"
    if row.state is JobState.SUCCEEDED and row.kind is JobKind.PREDICT:
        links["predictions"] = f"{here}/predictions"
    return links
