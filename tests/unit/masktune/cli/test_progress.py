"""How a job's progress is told to people."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from masktune import Job
from masktune.cli.progress import describe, follow, transfer_bar
from tests.support.answers import CREATED


def a_job(**fields: Any) -> Job:
    return Job.model_validate(CREATED | {"id": "job_1", "kind": "masktune"} | fields)


STEPS: list[dict[str, Any]] = [
    {"state": "queued"},
    {"state": "running"},
    {"state": "running", "stage": "erm", "progress": {"fraction": 0.1, "epoch": 1, "epochs": 15}},
    {
        "state": "running",
        "stage": "erm",
        "progress": {"fraction": 0.2, "epoch": 2, "images_per_second": 4020.5},
    },
    {"state": "running", "stage": "newer", "progress": {"fraction": 0.9}},
    {"state": "succeeded", "stage": "evaluate", "progress": {"fraction": 1.0}},
]
JOBS = [a_job(**step) for step in STEPS]


def test_without_a_terminal_each_change_is_a_line() -> None:
    out = io.StringIO()
    assert follow(Console(file=out, width=120), JOBS) is JOBS[-1]
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["0%", "waiting", "for", "a", "worker"],
        ["0%", "starting"],
        ["10%", "plain", "training", "(ERM)", "epoch", "2", "of", "15"],
        ["90%", "newer"],
        ["100%", "succeeded"],
    ]


@pytest.mark.parametrize(("finished", "number"), [(None, 1), (0, 1), (1, 2), (14, 15), (15, 15)])
def test_the_epoch_is_the_one_that_runs(finished: int | None, number: int) -> None:
    progress = {"fraction": 0.1, "epoch": finished, "epochs": 15}
    out = io.StringIO()
    follow(Console(file=out, width=120), [a_job(state="running", progress=progress)])
    assert f"epoch {number} of 15" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_left_is_what_the_service_says(terminal: bool) -> None:
    out, progress = io.StringIO(), {"fraction": 0.5, "eta_seconds": 200.0}
    console = Console(file=out, width=120, force_terminal=terminal)
    follow(console, [a_job(state="running", progress=progress)])
    assert "3 min 20 s left" in out.getvalue()
    out.truncate(0)
    follow(console, [a_job(state="running", progress=progress | {"eta_seconds": None})])
    assert "left" not in out.getvalue()


def test_on_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    assert follow(console, JOBS).state == "succeeded"
    assert "100%" in out.getvalue()
    with transfer_bar(console, "uploading") as on_sent:
        on_sent(512, 1024)
    assert "uploading" in out.getvalue()


def test_a_bar_has_names_as_they_are() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True)
    with transfer_bar(console, "uploading photos[/x] [old]") as on_sent:
        on_sent(512, 1024)
    follow(console, [a_job(state="running", stage="[/x]")])
    assert "uploading photos[/x] [old]" in out.getvalue()
    assert "[/x]" in out.getvalue().rpartition("uploading")[2]


def test_states_have_their_words() -> None:
    assert [describe(job) for job in JOBS][-2:] == ["newer", "succeeded"]
    assert describe(a_job(state="cancelling", stage="erm")) == "cancelling"
    plain = a_job(kind="retrain_head", state="running", stage="head_control")
    assert describe(plain) == "last-layer control"
