"""Every stage has its function, and one that asks whether to stop says that it is alive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.job_params import ImportParams
from masktune.contract.vocabulary import JobKind, Stage
from worker.child.pipes import Reporter
from worker.child.runner import Job, stage_function
from worker.protocol import Alive, Spec, parse
from worker.workspace import Workspace


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_a_function(stage: Stage) -> None:
    assert callable(stage_function(stage))


def test_a_stage_that_asks_whether_to_stop_gives_a_sign_of_life(tmp_path: Path, artifacts: Artifacts) -> None:
    reading, writing = os.pipe()
    spec = Spec(job_id="job_1", kind=JobKind.IMPORT, attempt=1, stages=(Stage.IMPORT,), params=ImportParams())
    job = Job(
        spec=spec,
        settings=Settings(data_dir=tmp_path),
        artifacts=artifacts,
        workspace=Workspace(artifacts, spec.job_id, scratch=tmp_path),
        reporter=Reporter(writing),
        threads=1,
        should_stop=lambda: True,
    )
    assert job.context(Stage.IMPORT).should_stop()
    assert parse(os.read(reading, 100)) == Alive()
    os.close(reading)
    os.close(writing)
