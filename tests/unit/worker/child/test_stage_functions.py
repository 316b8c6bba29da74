"""Every stage has its function, and one that asks whether to stop says that it is alive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.job_params import ImportParams
from masktune.contract.vocabulary import JobKind, Stage
from models.run import Stopped
from worker.child.pipes import Reporter
from worker.child.runner import Job, stage_function
from worker.context import StageContext
from worker.protocol import STOPPED, Alive, Spec, parse
from worker.workspace import Workspace


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_function(stage: Stage) -> None:
    assert callable(stage_function(stage))


def job_of(folder: Path, artifacts: Artifacts, writing: int) -> Job:
    spec = Spec(job_id="job_1", kind=JobKind.IMPORT, attempt=1, stages=(Stage.IMPORT,), params=ImportParams())
    return Job(
        spec=spec,
        settings=Settings(data_dir=folder),
        artifacts=artifacts,
        workspace=Workspace(artifacts, spec.job_id, scratch=folder),
        reporter=Reporter(writing),
        threads=1,
        should_stop=lambda: True,
    )


def test_a_stage_that_asks_whether_to_stop_gives_a_sign_of_life(tmp_path: Path, artifacts: Artifacts) -> None:
    reading, writing = os.pipe()
    assert job_of(tmp_path, artifacts, writing).context(Stage.IMPORT).should_stop()
    assert parse(os.read(reading, 100)) == Alive()
    os.close(reading)
    os.close(writing)


def test_a_stage_is_timed_from_its_start(
    tmp_path: Path, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from its first report, when half of it may be done."""
    reading, writing = os.pipe()
    job, timed = job_of(tmp_path, artifacts, writing), []

    def function(_: StageContext) -> NoReturn:
        timed.append("progress" in vars(job))
        raise Stopped

    monkeypatch.setattr("worker.child.runner.stage_function", lambda _: function)
    assert job.run() == STOPPED
    assert timed == [True]
    os.close(reading)
    os.close(writing)
