"""Write a child's messages to the database, each in a short, fenced transaction. Nothing here commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from core.queries import datasets, jobs, leases, registry, trash
from core.queries.leases import Lease
from core.sweep import close_imports
from core.tables import JobRow, ModelRow
from masktune.contract.vocabulary import Arm, DatasetState, JobKind, JobState, Stage
from worker.protocol import Message

_UNNAMED_SECONDS = 86_400.0
"""How long a calibration that no model names is kept: running jobs may still read it."""


_LONGEST_WAIT, _DOUBLINGS = 3600.0, 30
"""The longest wait between two attempts in seconds; a cap on the doublings, so that 2**n cannot overflow."""


def begin(session: Session, lease: Lease) -> JobRow:
    """Return the row of a job that was just claimed; if it retries an import, reopen the data set."""
    leases.held(session, lease, lock=True)
    job = jobs.get(session, lease.job_id)
    if job.kind is JobKind.IMPORT and job.dataset_id is not None:
        dataset = datasets.get(session, job.dataset_id)
        if dataset.state is DatasetState.INVALID:
            dataset.state, dataset.ended_at = DatasetState.IMPORTING, None
    return job


def end(
    session: Session, lease: Lease, state: JobState, *, error: Mapping[str, Any] | None = None
) -> JobState:
    """End the job. If it is an import that did not finish, its data set becomes invalid."""
    ended = leases.end(session, lease, state, error=error)
    close_imports(session, lease.job_id)
    return ended


def crashed(
    session: Session, lease: Lease, error: Mapping[str, Any], *, reason: str, max_crashes: int, backoff: float
) -> JobState:
    """Requeue a job whose child crashed, with this `reason`; after `max_crashes`, fail it with `error`.

    Crashes are counted since the last finished epoch (`JobRow.crashes`). The wait doubles with each crash, up
    to an hour.
    """
    before = jobs.get(session, lease.job_id).crashes
    if before + 1 >= max_crashes:
        return end(session, lease, JobState.FAILED, error=error)
    delay = min(backoff * 2.0 ** min(before, _DOUBLINGS), max(backoff, _LONGEST_WAIT))
    state = leases.release(session, lease, reason=reason, delay=delay, crashed=True)
    close_imports(session, lease.job_id)
    return state


def record(session: Session, lease: Lease, message: Message) -> None:
    """Write one message other than progress. Raises `LeaseLost` if this worker no longer holds the job."""
    RECORDERS[message["type"]](session, lease, message)


def _stage_started(session: Session, lease: Lease, message: Message) -> None:
    leases.start_stage(session, lease, Stage(message["stage"]))


def _stage_finished(session: Session, lease: Lease, message: Message) -> None:
    stage, result = Stage(message["stage"]), message["result"]
    if result.get("ready", True):
        job = leases.finish_stage(session, lease, stage, result)
    else:  # an import without a usable data set does not finish its stage, so that `resume` retries it
        leases.held(session, lease, lock=True)
        job = jobs.get(session, lease.job_id)
    effect = EFFECTS.get(stage)
    if effect is not None:
        effect(session, lease, job, result)


def _log(session: Session, lease: Lease, message: Message) -> None:
    leases.log(session, lease, message["message"])


def _nothing(session: Session, lease: Lease, message: Message) -> None:
    """Write nothing: the supervisor handles these messages itself."""


RECORDERS: dict[str, Callable[[Session, Lease, Message], None]] = {
    "hello": _nothing,
    "stage_started": _stage_started,
    "stage_finished": _stage_finished,
    "log": _log,
    "alive": _nothing,
    "failed": _nothing,
    "done": _nothing,
}


# --- what a finished stage changes beyond the job's own row ---------------------------------------


def _imported(session: Session, lease: Lease, job: JobRow, result: Mapping[str, Any]) -> None:
    assert job.dataset_id is not None
    datasets.finish(
        session,
        job.dataset_id,
        artifact=result["artifact"],
        classes=result["classes"],
        summary=result["summary"],
        ready=result["ready"],
    )


def _trained(session: Session, lease: Lease, job: JobRow, result: Mapping[str, Any]) -> None:
    for model in result["models"]:
        if session.get(ModelRow, model["id"]) is None:
            registry.add(
                session,
                ModelRow(
                    id=model["id"],
                    dataset_id=job.dataset_id,
                    job_id=job.id,
                    arm=Arm(model["arm"]),
                    backbone=model["backbone"],
                    classes=model["classes"],
                    image_size=model["image_size"],
                    artifact=model["artifact"],
                    erm_id=model["erm_id"],
                    created_by=job.created_by,
                ),
            )
        leases.set_models(session, lease, {model["arm"]: model["id"]})


def _calibrated(session: Session, lease: Lease, job: JobRow, result: Mapping[str, Any]) -> None:
    # Lock in the same order everywhere, as in `_evaluated`.
    for model_id, calibration in sorted(result["calibrations"].items()):
        model = _own(session, job, model_id, lock=True) or _uncalibrated(session, model_id)
        unnamed = calibration if model is None else model.calibration
        if unnamed is not None:
            trash.put(session, [unnamed["artifact"]], after=_UNNAMED_SECONDS)
        if model is not None:
            trash.remove(session, [calibration["artifact"]])
            model.calibration = dict(calibration)
    session.flush()


def _evaluated(session: Session, lease: Lease, job: JobRow, result: Mapping[str, Any]) -> None:
    # Lock in the same order everywhere, so that two jobs that evaluate the same models cannot deadlock.
    for arm in sorted(result["metrics"], key=lambda arm: str(result["models"][arm])):
        model = _own(session, job, result["models"][arm], lock=True)
        if model is not None:  # splits that were not evaluated this time keep their figures
            model.metrics = model.metrics | dict(result["metrics"][arm])
    session.flush()
    leases.set_metrics(session, lease, result["metrics"])


def _own(session: Session, job: JobRow, model_id: str, *, lock: bool = False) -> ModelRow | None:
    """The model if it belongs to the job's data set; results on another data set must not replace its own.

    `lock` it for a read-modify-write. The lock (FOR NO KEY UPDATE) blocks other writers, but not `keep`.
    """
    model = session.get(ModelRow, model_id, with_for_update={"key_share": True} if lock else None)
    if model is None or model.dataset_id not in (job.dataset_id, None):
        return None
    return model


def _uncalibrated(session: Session, model_id: str) -> ModelRow | None:
    model = session.get(ModelRow, model_id, with_for_update={"key_share": True})
    return model if model is not None and model.calibration is None else None


EFFECTS: dict[Stage, Callable[[Session, Lease, JobRow, Mapping[str, Any]], None]] = {
    Stage.IMPORT: _imported,
    Stage.ERM: _trained,
    Stage.FINETUNE: _trained,
    Stage.CONTROL: _trained,
    Stage.RETRAIN_HEAD: _trained,
    Stage.CALIBRATE: _calibrated,
    Stage.EVALUATE: _evaluated,
}
