"""Enter a job's state: its time, its event, and artifacts left unrecorded.
Nothing here commits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.queries import events, trash, webhooks
from core.session import db_now
from core.tables import JobRow, PassRow
from masktune.contract.ids import calibration_id, new_id, pattern_judge_id
from masktune.contract.vocabulary import RESUMABLE, STAGES, EventType, JobState, Stage, WebhookEvent

_UNRECORDED_SECONDS = 86_400.0
"""How long a job's unrecorded artifacts are kept: a suspended worker may wake up and write them again."""


def enter(session: Session, job_id: str, state: JobState, **data: Any) -> None:
    """Record the time of the state change, write its event, and close the pass of the attempt before."""
    row = session.get_one(JobRow, job_id, populate_existing=True)
    row.times = row.times | {state.value: session.scalar(select(db_now()))}
    session.flush()
    session.execute(delete(PassRow).where(PassRow.job_id == job_id))
    if state in RESUMABLE:
        trash.put(session, unrecorded_keys(row), after=_UNRECORDED_SECONDS)
    if state.ended and row.models:
        # Its process no longer reads its own copies of backbones that were stored already.
        trash.put_off(session, [f"backbones/{model_id}" for model_id in row.models.values()])
    events.add(session, job_id, EventType.STATE, {"state": state, "attempt": row.attempt} | data)
    if state.ended:
        webhooks.publish(session, WebhookEvent(f"job.{state}"), _summary(row))


def _summary(row: JobRow) -> dict[str, Any]:
    """What webhooks are told of a job: not the error's text, which may name files."""
    return {
        "id": row.id,
        "url": f"/jobs/{row.id}",
        "kind": row.kind,
        "state": row.state,
        "name": row.name,
        "dataset": row.dataset_id,
        "verdict": row.done.get(Stage.EVALUATE, {}).get("verdict"),
        "reason": (row.error or {}).get("reason"),
    }


def unrecorded_keys(row: JobRow) -> list[str]:
    """Keys that the job was going to write but no row names; a killed attempt may have left files there."""
    planned, resumed = row.inputs.get("model_ids") or {}, row.inputs.get("resumed", 0)
    keys = [
        f"{kind}/{model_id}"
        for arm, model_id in planned.items()
        if arm not in row.models
        for kind in ("models", "backbones")
    ]
    if Stage.CALIBRATE in STAGES[row.kind] and Stage.CALIBRATE not in row.done:
        judged = row.models.values() or filter(None, [row.inputs.get("model")])
        keys += [f"calibrations/{calibration_id(row.id, model_id, resumed)}" for model_id in judged]
    if Stage.INFER_GROUPS in STAGES[row.kind] and Stage.INFER_GROUPS not in row.done:
        keys.append(f"pattern_judges/{pattern_judge_id(row.id, resumed)}")
    return keys


def inputs_with_new_ids(row: JobRow) -> dict[str, Any]:
    """The inputs of a resumed job, with new ids for everything that is `unrecorded`.

    The old keys are in the trash and must not be reused: their artifacts may be being deleted.
    """
    planned = row.inputs.get("model_ids") or {}
    names = {arm: model_id if arm in row.models else new_id("mdl") for arm, model_id in planned.items()}
    return row.inputs | {"model_ids": names, "resumed": row.inputs.get("resumed", 0) + 1}
