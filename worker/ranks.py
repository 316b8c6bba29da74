"""Trainings on several devices: one process each, started by torchrun for one stage and gone after it.

The child that starts them holds a pipe whose other end is every rank's stdin: when the child is
gone, however it ended, each rank reads the end of it and ends itself. torchrun's ranks live in
sessions of their own, which no signal to the child's reaches.
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
from typing import Any

from core.errors import JobError
from core.settings import Settings
from core.vocabulary import Stage
from models.run import Stopped
from worker.spec import Spec

TRAININGS = frozenset({Stage.ERM, Stage.FINETUNE, Stage.CONTROL})
"""Stages that more devices make faster; the others run on one."""

SPEC, RESULT, FAILURE = "spec.json", "result.json", "failure.json"
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Ranks:
    """How one stage is run by several. `folder` is theirs, for what they are told and what they say."""

    count: int
    folder: Path
    reporter: int
    should_stop: Callable[[], bool]

    def run(self, spec: Spec, stage: Stage) -> dict[str, Any]:
        """The stage's result. Raises what a rank has explained, `Stopped`, RuntimeError when one broke."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (RESULT, FAILURE):
            (self.folder / name).unlink(missing_ok=True)
        left = spec.stages[spec.stages.index(stage) :]
        (self.folder / SPEC).write_bytes(replace(spec, stages=left).to_line())
        code = self._watched(stage)
        if (self.folder / FAILURE).exists():
            raise RankFailed(json.loads((self.folder / FAILURE).read_text()))
        if code != 0:
            raise RuntimeError(f"the ranks of {stage} ended with exit code {code}")
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_text())
        return found

    def _watched(self, stage: Stage) -> int:
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                    *(f"--nproc-per-node={self.count}", "-m", "worker.rank", str(self.folder), stage),
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
            os.close(ours)  # whoever is left ends now
        return process.returncode


class RankFailed(JobError):
    """What one rank gave up for."""

    def __init__(self, said: dict[str, Any]) -> None:
        error = said["error"]
        super().__init__(error.get("reason", "rank_failed"), error["detail"], retry=said["retry"])


def check_devices(count: int, device: str, settings: Settings) -> None:
    """JobError unless there is a card for each rank. On a CPU they share it, which only tests want.

    The cards are the host's first ones: a worker that gives each job one card cannot tell which are free.
    """
    import torch

    if torch.device(device).type != "cuda":
        return
    found = torch.cuda.device_count()
    if found < count:
        what = f"this worker has {found}; lower gpus, or start a worker on a host with more"
    elif settings.device not in ("auto", "cuda") or settings.worker_slots > 1:
        what = (
            "this worker gives each job one; lower gpus, or start a worker without a card's number in "
            "MASKTUNE_DEVICE and with MASKTUNE_WORKER_SLOTS=1"
        )
    else:
        return
    raise JobError("not_enough_gpus", f"the job wants {count} GPUs and {what}")
