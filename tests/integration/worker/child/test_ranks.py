"""A training on two ranks, which torchrun starts from a real child; and a job of which one rank fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from masktune.contract.vocabulary import JobKind, JobState
from models.training.checkpoints import CheckpointFolder
from tests.support.jobs.bench import Bench, bench_with_digits
from tests.support.jobs.real_jobs import hyperparameters
from worker.slots import work

pytestmark = [pytest.mark.faults, pytest.mark.slow]

# Python runs it at the start of every process. To leave the group does not come back, as on NCCL after an
# error; here the rank ends at it, so that the test need not wait.
SECOND_RANK_FAILS = """
import os
if "RANK" in os.environ:
    import torch
    import torch.distributed
    torch.distributed.destroy_process_group = lambda: os._exit(9)
    def full(*tensors):
        raise {error}
    if os.environ["RANK"] == "1":
        torch.autograd.backward = full
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_with_digits(tmp_path_factory.mktemp("ranks"), max_crashes=1) as opened:
        yield opened


def test_two_ranks_train_one_model(bench: Bench) -> None:
    job_id = bench.run(JobKind.ERM, params=hyperparameters(gpus=2, epochs=2))
    work(bench.runtime)
    job = bench.succeed(job_id)[0]
    newest = CheckpointFolder(bench.folder(job.done["erm"]["artifact"])).newest()
    assert newest is not None
    assert [epoch.images for epoch in newest.history] == [132, 132]


def _failed(bench: Bench, error: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a job ends with whose second rank raises `error` in its first step."""
    (folder / "sitecustomize.py").write_text(SECOND_RANK_FAILS.format(error=error))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    job_id = bench.run(JobKind.ERM, params=hyperparameters(gpus=2, epochs=2))
    work(bench.runtime)
    job = bench.job(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    return job.error


def test_what_one_rank_gave_up_for_is_told(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = _failed(bench, "torch.OutOfMemoryError('the card is full')", tmp_path, monkeypatch)
    assert error["reason"] == "out_of_memory"


def test_an_error_that_nobody_foresaw_ends_the_job_and_is_in_the_log(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    error = _failed(bench, "LookupError('nobody foresaw it')", tmp_path, monkeypatch)
    assert error["reason"] == "child_crashed"
    assert "LookupError: nobody foresaw it" in capfd.readouterr().err
