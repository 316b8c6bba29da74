"""The stages of a job, as its page draws them."""

from __future__ import annotations

import pytest

from masktune import AsyncClient, Event, Job, OwnKey
from tests.support.answers import AT, CREATED, JOB
from web.job_timeline import JobTimeline
from web.pages.job import JobView, stages
from web.shell import render

TEXTS = {"connection_error": "", "description": ""}


@pytest.mark.parametrize("reason", ["dataset_invalid", "out_of_memory"])
def test_an_import_that_would_end_the_same_way_is_not_resumed(reason: str) -> None:
    fields = {"kind": "import", "state": "failed", "error": {"detail": "one class only", "reason": reason}}
    job = Job.model_validate(JOB | fields)
    view = JobView(AsyncClient("http://127.0.0.1:9"), job, "birds", OwnKey(scopes=["admin"], open=True))
    head = render("job_head", job=job, stages=[], progress={"fraction": 1}, link=str, **TEXTS)
    may_help = reason == "out_of_memory"
    assert ("Resume" in [text for text, _, _ in view._buttons()]) is may_help
    assert ("it would end the same way" in head) is not may_help


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
