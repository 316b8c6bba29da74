"""The stages of a job, as its page draws them."""

from __future__ import annotations

import pytest

from masktune import Event, Job
from tests.support.answers import AT, CREATED
from web.job_timeline import JobTimeline
from web.pages.job import stages


@pytest.mark.parametrize(
    ("kind", "state", "stage", "finished", "drawn"),
    [
        ("erm", "running", "calibrate", ["erm", "infer_groups"], ["done", "done", "now", ""]),
        ("masktune", "running", "finetune", [], ["done"] * 3 + ["now", "", "", ""]),
        ("erm", "succeeded", "evaluate", [], ["done"] * 4),
    ],
    ids=["a finished stage", "stages before the current one", "all stages of a job that succeeded"],
)
def test_what_is_done(kind: str, state: str, stage: str, finished: list[str], drawn: list[str]) -> None:
    job = Job.model_validate(CREATED | {"id": "job_1", "kind": kind, "state": state, "stage": stage})
    timeline = JobTimeline()
    for number, name in enumerate(finished, start=1):
        data = {"stage": name, "status": "finished", "seconds": 1.0}
        timeline.add(Event.model_validate({"id": number, "type": "stage", "at": AT, "data": data}))
    assert [state for state, _ in stages(job, timeline)] == drawn
