"""A job as the API describes it."""

from __future__ import annotations

from typing import Any

import pytest

from app.jobs.presenter import describe
from core.tables import JobRow
from masktune.contract.jobs import JobVerdict
from masktune.contract.vocabulary import Arm, JobKind, JobState

HELPED = JobVerdict(verdict="helped", a=Arm.MASKTUNE, b=Arm.MASKTUNE_CONTROL)


@pytest.mark.parametrize(
    ("done", "verdict"),
    [
        ({}, None),
        ({"evaluate": {"verdict": None}}, None),
        ({"evaluate": {"verdict": HELPED.model_dump(mode="json")}}, HELPED),
    ],
    ids=["not evaluated", "nothing compared", "compared"],
)
def test_a_job_has_the_verdict_of_its_report(done: dict[str, Any], verdict: JobVerdict | None) -> None:
    row = JobRow(id="job_1", kind=JobKind.MASKTUNE, state=JobState.SUCCEEDED, done=done, created_at=1.0)
    for name in ("params", "request", "inputs", "progress", "models", "metrics", "times", "user_metadata"):
        setattr(row, name, {})
    row.attempt = row.priority = row.event_seq = 0
    assert describe(row, "").verdict == verdict
