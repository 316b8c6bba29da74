"""The stages of a job, as its page draws them."""

from __future__ import annotations

from masktune import Event, Job
from web.job_timeline import JobTimeline
from web.pages.job import stages

CREATED = {"created_at": "2025-11-03T09:30:00.000Z"}


def _drawn(job: Job, *finished: str) -> list[str]:
    timeline = JobTimeline()
    for number, stage in enumerate(finished, start=1):
        timeline.add(
            Event.model_validate(
                {
                    "id": number,
                    "type": "stage",
                    "at": CREATED["created_at"],
                    "data": {"stage": stage, "status": "finished", "seconds": 1.0},
                }
            )
        )
    return [state for state, _ in stages(job, timeline)]


def test_a_finished_stage_is_done() -> None:
    job = Job.model_validate(
        {
            "id": "job_1",
            "kind": "erm",
            **CREATED,
            "state": "running",
            "stage": "calibrate",
        }
    )
    assert _drawn(job, "erm") == ["done", "now", ""]


def test_stages_before_the_current_one_are_done() -> None:
    job = Job.model_validate(
        {
            "id": "job_1",
            "kind": "masktune",
            **CREATED,
            "state": "running",
            "stage": "finetune",
        }
    )
    assert _drawn(job) == ["done", "done", "now", "", "", ""]


def test_all_stages_of_a_succeeded_job_are_done() -> None:
    assert (
        _drawn(
            Job.model_validate(
                {
                    "id": "job_1",
                    "kind": "erm",
                    **CREATED,
                    "state": "succeeded",
                    "stage": "evaluate",
                }
            )
        )
        == ["done"] * 3
    )
