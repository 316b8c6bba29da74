"""Job and event rows in the shapes of the API."""

from __future__ import annotations

from collections.abc import Mapping

from app.datasets.schemas import BuiltinOptions, FormatOptions
from app.http.key_order import ARMS, BY_NAME, METRICS, PROBLEM, Order, each, of_fields, ordered
from app.http.locations import Locate, located
from app.jobs.schemas import Event, Job, Progress
from core.tables import EventRow, JobRow
from masktune.contract.hyperparameters import Hyperparameters, RetrainConfig
from masktune.contract.job_requests import EvaluateRequest, PredictRequest
from masktune.contract.vocabulary import STAGES, EventType, JobKind, JobState, Stage

_REPORTING = frozenset(kind for kind, stages in STAGES.items() if Stage.EVALUATE in stages)

_OPTIONS = each((*FormatOptions.model_fields, *BuiltinOptions.model_fields))
_TRAINING = of_fields(Hyperparameters)
_PARAMS: Mapping[JobKind, Order] = {
    JobKind.IMPORT: {"format": BY_NAME, "options": _OPTIONS, "seed": BY_NAME},
    JobKind.RETRAIN_HEAD: of_fields(RetrainConfig),
    JobKind.EVALUATE: each(EvaluateRequest.model_fields),
    JobKind.PREDICT: each(PredictRequest.model_fields),
}
"""Order of the parameters of jobs that do not train a network; the other kinds use `_TRAINING`."""

_PROGRESS = each(
    (
        "fraction",
        "stage",
        "stage_fraction",
        "epoch",
        "epochs",
        "step",
        "steps",
        "images_per_second",
        "eta_seconds",
        "metrics",
    ),
    each(("loss", "accuracy", "learning_rate", "val_accuracy")),
)
_DATA: Mapping[str, Order] = {
    EventType.STATE: {"state": BY_NAME, "attempt": BY_NAME, "reason": BY_NAME, "error": PROBLEM},
    EventType.STAGE: each(("stage", "status", "seconds")),
    EventType.PROGRESS: _PROGRESS,
    EventType.METRICS: METRICS,
}
"""Order of the data of events, by type."""


def describe(row: JobRow, locate: Locate) -> Job:
    """Describe the job's current state."""
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
        params=ordered(row.params, _PARAMS.get(row.kind, _TRAINING)),
        inputs={name: row.inputs[name] for name in ("model", "mask_set") if name in row.inputs},
        models=ordered(row.models, ARMS),
        metrics=ordered(row.metrics, METRICS),
        error=None if row.error is None else ordered(located(row.error, locate), PROBLEM),
        events=row.event_seq,
        created_at=row.created_at,
        queued_at=row.times.get(JobState.QUEUED),
        started_at=row.times.get(JobState.RUNNING),
        cancelling_at=row.times.get(JobState.CANCELLING),
        ended_at=row.ended_at,
        links=_links(row, locate),
    )


def describe_event(row: EventRow, locate: Locate) -> Event:
    """Describe the event; its id is its number within the job."""
    error = row.data.get("error")
    data = {**row.data, "error": located(error, locate)} if isinstance(error, dict) else row.data
    data = ordered(data, _DATA.get(row.type, BY_NAME))
    return Event.model_validate({"id": row.seq, "type": row.type, "at": row.at, "data": data})


def _links(row: JobRow, locate: Locate) -> dict[str, str]:
    here = locate(f"/jobs/{row.id}")
    links = {"self": here, "events": f"{here}/events"}
    if row.state is JobState.SUCCEEDED and row.kind in _REPORTING:
        links["report"] = f"{here}/report"
    if row.state is JobState.SUCCEEDED and row.kind is JobKind.PREDICT:
        links["predictions"] = f"{here}/predictions"
    return links
