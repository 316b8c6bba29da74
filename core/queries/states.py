"""A job enters a state: when, its event, and what it may have left in the store. Nothing here commits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.ids import calibration_id, new_id
from core.queries import events, trash
from core.session import db_now
from core.tables import JobRow
from core.vocabulary import RESUMABLE, STAGES, EventType, JobState, Stage

_UNRECORDED_SECONDS = 86_400.0
"""How long it stays what a job wrote and did not come to record: a worker that was stopped may wake and write
it once more.
"""


def enter(session: Session, job_id: str, state: JobState, **data: Any) -> None:
    """Stamp the time of a state and tell it."""
    row = session.get_one(JobRow, job_id, populate_existing=True)
    now = session.scalar(select(db_now()))
    row.times = row.times | {state.value: now}
    session.flush()
    if state in RESUMABLE:
        trash.put(session, unrecorded(row), after=_UNRECORDED_SECONDS)
    events.add(session, job_id, EventType.STATE, {"state": state, "attempt": row.attempt} | data)


def unrecorded(row: JobRow) -> list[str]:
    """Keys that the job was to write and that no row names: a kill may have left files there."""
    made, resumed = row.inputs.get("model_ids") or {}, row.inputs.get("resumed", 0)
    keys = [f"models/{model_id}" for arm, model_id in made.items() if arm not in row.models]
    if Stage.CALIBRATE in STAGES[row.kind] and Stage.CALIBRATE not in row.done:
        judged = row.models.values() or filter(None, [row.inputs.get("model")])
        keys += [f"calibrations/{calibration_id(row.id, model_id, resumed)}" for model_id in judged]
    return keys


def renamed(row: JobRow) -> dict[str, Any]:
    """The inputs of a job that goes on, with other names for all that is `unrecorded`.

    What has the names of before is in the trash, where nobody takes it back: it may be being deleted.
    """
    made = row.inputs.get("model_ids") or {}
    names = {arm: model_id if arm in row.models else new_id("mdl") for arm, model_id in made.items()}
    return row.inputs | {"model_ids": names, "resumed": row.inputs.get("resumed", 0) + 1}
