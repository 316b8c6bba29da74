"""Training on several devices: torchrun starts one process (rank) per device for the length of one stage.

The child holds the write end of a pipe whose read end is every rank's stdin. When the child ends, for
whatever reason, each rank reads end-of-file and ends itself. Signals would not do: torchrun starts the
ranks in sessions of their own, which a signal to the child's session does not reach.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import JobError
from core.settings import Settings
from masktune.contract.vocabulary import Stage
from models.run import Stopped
from worker.protocol import Failed, Spec
from worker.results import AnyResult, result_from_json

TRAININGS = frozenset({Stage.ERM, Stage.FINETUNE, Stage.CONTROL})
"""Stages that run on several devices; the others run on one."""

SPEC, RESULT, FAILURE = "spec.json", "result.json", "failure.json"
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ranks:
    """Runs one stage on `count` ranks.

    They read their spec from `folder`, write their result or failure there, and report to the supervisor on
    the file descriptor `reporter`.
    """

    count: int
    folder: Path
    reporter: int
    should_stop: Callable[[], bool]

    def run(self, spec: Spec, stage: Stage) -> AnyResult:
        """Return the stage's result.

        Raises `RankFailed` with a rank's explained failure, `Stopped`, or RuntimeError if a rank crashed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (RESULT, FAILURE):
            (self.folder / name).unlink(missing_ok=True)
        left = spec.stages[spec.stages.index(stage) :]
        (self.folder / SPEC).write_bytes(replace(spec, stages=left).to_line())
        code = self._watched(stage)
        if (self.folder / FAILURE).exists():
            raise RankFailed(Failed(**json.loads((self.folder / FAILURE).read_text())))
        if code != 0:
            raise RuntimeError(f"the ranks of {stage} ended with exit code {code}")
        return result_from_json(json.loads((self.folder / RESULT).read_text()))

    def _watched(self, stage: Stage) -> int:
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                    *(f"--nproc-per-node={self.count}", "-m", "worker.child.rank", str(self.folder), stage),
                ],
                stdin=theirs,
                stdout=self.reporter,
            )
            os.close(theirs)
            try:
                while process.poll() is None:
                    if self.should_stop():
                        raise Stopped
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
                process.wait()
        finally:
            os.close(ours)  # ends every rank that is still running
        return process.returncode


class RankFailed(JobError):
    """The failure that one of the ranks reported."""

    def __init__(self, failure: Failed) -> None:
        error = failure.error
        reason, detail = error.get("reason", "rank_failed"), error["detail"]
        super().__init__(str(reason), str(detail), retry=failure.retry)


def check_devices(count: int, device: str, settings: Settings) -> None:
    """Raise JobError unless there is a GPU for each rank. On a CPU, the ranks share it (for tests only).

    Ranks use the host's first GPUs, so a worker that runs one job per GPU cannot host them: it does not know
    which GPUs are free.
    """
    import torch

    if torch.device(device).type != "cuda":
        return
    devices = torch.cuda.device_count()
    if devices < count:
        what = f"this worker has {devices}; lower `gpus`, or start a worker on a host with more"
    elif settings.device not in ("auto", "cuda") or settings.worker_slots > 1:
        what = (
            "this worker gives each job one; set `gpus` to 1, or start a worker with MASKTUNE_WORKER_SLOTS=1 "
            "and without the number of a card in MASKTUNE_DEVICE"
        )
    else:
        return
    raise JobError("not_enough_gpus", f"the job asks for {count} GPUs, but {what}")
