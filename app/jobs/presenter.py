"""Job and event rows in the shapes of the API."""

from __future__ import annotations

from collections.abc import Iterable

from app.http.edits import user_fields
from core.tables import EventRow, JobRow
from core.waiting import Wait, waiting_for
from masktune.contract.jobs import Event, Job, JobInputs, JobVerdict, Judgement, Progress
from masktune.contract.models import Evaluation
from masktune.contract.serving.prediction_table import PredictionCounts
from masktune.contract.vocabulary import STAGES, JobKind, JobState, Stage

_REPORTING = frozenset(kind for kind, stages in STAGES.items() if Stage.EVALUATE in stages)


def describe(row: JobRow, root_path: str, wait: Wait | None = None) -> Job:
    """Describe the job's current state."""
    known = {name: row.progress[name] for name in Progress.model_fields if name in row.progress}
    progress = {"stage": row.stage, **known}
    if row.state is JobState.SUCCEEDED:
        progress |= {"fraction": 1.0, "eta_seconds": 0.0}
    return Job.by_kind[row.kind](
        id=row.id,
        kind=row.kind,
        state=row.state,
        stage=row.stage,
        dataset=row.dataset_id,
        progress=Progress(**progress),
        attempt=row.attempt,
        priority=row.priority,
        queue_position=None if wait is None else wait.position,
        waiting_for=None if wait is None else waiting_for(wait),
        params=row.params,
        request=row.request,
        inputs=JobInputs(
            model=row.inputs.get("model"),
            mask_set=row.inputs.get("mask_set"),
            image_answers=row.inputs.get("review"),
        ),
        models=row.models,
        metrics=row.metrics,
        verdict=_verdict(row),
        error=row.error,
        events=row.event_seq,
        created_at=row.created_at,
        queued_at=row.times.get(JobState.QUEUED),
        started_at=row.times.get(JobState.RUNNING),
        cancelling_at=row.times.get(JobState.CANCELLING),
        ended_at=row.ended_at,
        links=_links(row, root_path),
        **_counts(row),
        **user_fields(row),
    )


def _counts(row: JobRow) -> dict[str, PredictionCounts]:
    """What only a predict job has."""
    if row.kind is not JobKind.PREDICT or Stage.PREDICT not in row.done:
        return {}
    stage = row.done[Stage.PREDICT]
    known = {name: stage[name] for name in PredictionCounts.model_fields if name in stage}
    answered, abstained = known.get("answered", 0), known.get("abstained", 0)
    coverage = answered / (answered + abstained or 1)
    return {"counts": PredictionCounts(**known, coverage=coverage)}


def _verdict(row: JobRow) -> JobVerdict | None:
    verdict = row.done.get(Stage.EVALUATE, {}).get("verdict")
    return None if verdict is None else JobVerdict.model_validate(verdict)


def judgements(rows: Iterable[JobRow]) -> list[Judgement]:
    """What the reports of these jobs say, the newest first."""
    described = [
        Judgement(
            job=row.id,
            verdict=_verdict(row),
            evaluation=_evaluation(row),
            next=row.done[Stage.EVALUATE].get("next", []),
            ended_at=row.ended_at,
        )
        for row in rows
    ]
    return sorted(described, key=lambda one: one.ended_at, reverse=True)


def _evaluation(row: JobRow) -> Evaluation | None:
    """Of the model that the verdict of the job's report is about."""
    stage = row.done[Stage.EVALUATE]
    arm = (stage.get("verdict") or {}).get("a")
    evaluation = stage.get("evaluations", {}).get(arm)
    if evaluation is None:
        return None
    return Evaluation.model_validate(evaluation | {"job": row.id})


def describe_event(row: EventRow) -> Event:
    """Describe the event; its id is its number within the job."""
    return Event.by_type[row.type](id=row.seq, type=row.type, at=row.at, data=row.data)


def _links(row: JobRow, root_path: str) -> dict[str, str]:
    here = f"{root_path}/jobs/{row.id}"
    links = {"self": here, "events": f"{here}/events"}
    if row.state is JobState.SUCCEEDED and row.kind in _REPORTING:
        links["report"] = f"{here}/report"
    if row.state is JobState.SUCCEEDED and row.kind is JobKind.PREDICT:
        links["predictions"] = f"{here}/predictions"
        links["prediction_rows"] = f"{here}/predictions/rows"
    if row.done.get(Stage.INFER_GROUPS, {}).get("judges"):
        links["samples"] = f"{root_path}/datasets/{row.dataset_id}/samples?inferred_by={row.id}"
    return links
