"""The work of the child process: run the stages of one job in order and report each of them.

torch is imported only once a stage needs it; an import job never does.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from core.artifacts import Artifacts
from core.errors import JobError
from core.loading import loading
from core.settings import Settings
from masktune.contract.vocabulary import JobKind, Stage
from models.data.report import ImportStopped
from models.run import Progress, Stopped, device_name, resolve_device
from worker.child.failures import KNOWN, explain
from worker.child.progress import JobProgress
from worker.child.ranks import TRAININGS, Ranks, check_devices
from worker.child.reporter import Reporter
from worker.child.workspace import Workspace
from worker.protocol import ModelSpec, Spec
from worker.stages import StageFunction, stage_function
from worker.stages.context import Result, StageContext
from worker.supervisor.exit_reasons import STOPPED

logger = logging.getLogger(__name__)


@dataclass
class Job:
    """A job with everything that the child needs to run it."""

    spec: Spec
    settings: Settings
    artifacts: Artifacts
    workspace: Workspace
    reporter: Reporter
    threads: int
    should_stop: Callable[[], bool]

    @cached_property
    def device(self) -> str:
        """torch's name of the device. An import only decodes and counts, so it always runs on the CPU."""
        if self.spec.kind is JobKind.IMPORT:
            return "cpu"
        return device_of_slot(self.settings.device, self.spec.slot)

    def run(self) -> int:
        """Run the remaining stages and return the exit code. Unexpected errors are raised."""
        try:
            job_progress = self.job_progress()
            for stage in self.spec.stages:
                self._stage(stage, job_progress)
        except (Stopped, ImportStopped):
            return STOPPED
        except KNOWN as error:
            explained = explain(error)
            if explained is None:
                raise
            logger.exception("the job gave up")
            self.reporter.failed(explained[0], retry=explained[1])
            return 0
        self.workspace.close(written_by(self.spec))
        self.reporter.done()
        return 0

    def _stage(self, stage: Stage, job_progress: JobProgress) -> None:
        with loading():
            function = stage_function(stage)  # imports are not counted in the stage's time
        self.reporter.stage_started(stage)
        started = time.monotonic()
        result = self._result(stage, function, job_progress)
        seconds = time.monotonic() - started
        result = {"seconds": round(seconds, 3), "device": device_name(self.device), **result}
        self.reporter.progress(job_progress.finished(stage) | {"advanced": False})
        self.reporter.stage_finished(stage, result)
        self._remember(stage, result)
        if not result.get("ready", True):
            raise JobError("dataset_invalid", invalid_dataset(result))

    def _result(self, stage: Stage, function: StageFunction, job_progress: JobProgress) -> Result:
        ranks = int(self.spec.params.get("gpus", 1))
        if ranks == 1 or stage not in TRAININGS:
            return function(self.context(stage, job_progress))
        check_devices(ranks, self.device, self.settings)
        self._make_room()
        folder = self.workspace.folder(f"ranks-{stage}")
        # Not `_stop_or_alive`: the ranks send their own signs of life, and ours would hide that they hang.
        return Ranks(ranks, folder, self.reporter.descriptor, self.should_stop).run(self.spec, stage)

    def _make_room(self) -> None:
        """Prepare for the ranks: fetch the data set once for all of them, and release the GPU memory that
        earlier stages left cached in this process.
        """
        import torch

        if self.spec.dataset is not None and self.spec.dataset.artifact is not None:
            self.artifacts.folder(self.spec.dataset.artifact)
        gc.collect()
        torch.cuda.empty_cache()

    def job_progress(self) -> JobProgress:
        return JobProgress(self.spec.kind, self.spec.params, self.spec.stages)

    def context(self, stage: Stage, job_progress: JobProgress) -> StageContext:
        """The stage's context: it reports progress to the supervisor and saves new epochs to the store."""
        saved = self._epochs(stage)

        def on_progress(progress: Progress) -> None:
            nonlocal saved
            newest = self._epochs(stage)
            advanced, saved = newest > saved, newest
            if advanced:
                self.workspace.save()
            self.reporter.progress(job_progress.report(stage, progress) | {"advanced": advanced})

        return StageContext(
            spec=self.spec,
            stage=stage,
            settings=self.settings,
            artifacts=self.artifacts,
            workspace=self.workspace,
            device=self.device,
            threads=self.threads,
            on_progress=on_progress,
            should_stop=self._stop_or_alive,
            say=self.reporter.log,
        )

    def _stop_or_alive(self) -> bool:
        """`should_stop` for the loops of a stage, which call it at each step; each call is a sign of life."""
        self.reporter.alive()
        return self.should_stop()

    def _epochs(self, stage: Stage) -> int:
        """The number of checkpointed epochs; each finetune iteration but the last has its own folder."""
        folders = [self.workspace.folder(stage), *self.workspace.path.glob(f"{stage}-*")]
        return sum(map(newest_epoch, folders))

    def _remember(self, stage: Stage, result: Result) -> None:
        """Add the result to the spec for the next stages, as a restart would read it from the database."""
        models = {
            m["id"]: ModelSpec(
                id=m["id"],
                arm=m["arm"],
                artifact=m["artifact"],
                erm_id=m["erm_id"],
                job_id=self.spec.job_id,
                dataset_id=self.spec.dataset.id if self.spec.dataset else None,
                classes=tuple(m["classes"]),
                backbone=m["backbone"],
                calibration=None,
            )
            for m in result.get("models", ())
            if isinstance(m, dict)
        }
        self.spec = replace(
            self.spec,
            done=self.spec.done | {stage.value: dict(result)},
            models=self.spec.models | models,
        )


def written_by(spec: Spec) -> list[str]:
    """The keys of all artifacts that the stages of the job reported."""
    results = list(spec.done.values())
    models = [m for result in results for m in result.get("models", ()) if isinstance(m, dict)]
    calibrations = [c for result in results for c in result.get("calibrations", {}).values()]
    return [output["artifact"] for output in (*results, *models, *calibrations) if output.get("artifact")]


def newest_epoch(folder: Path) -> int:
    """The number of epochs behind the newest checkpoint in this folder; 0 if there is none."""
    if not folder.exists():
        return 0
    from models.training.checkpoints import CheckpointFolder

    return max(CheckpointFolder(folder).epochs(), default=0)


def device_of_slot(name: str, slot: int) -> str:
    """The device of a worker slot: slots share the host's GPUs round-robin; a rank uses its local rank's."""
    import torch

    device = resolve_device(name)
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    elif device.type == "cuda" and name in ("auto", "cuda"):
        device = torch.device("cuda", slot % torch.cuda.device_count())
    return str(device)


def invalid_dataset(result: Result) -> str:
    reasons = "; ".join(problem["detail"] for problem in result["summary"]["problems"])
    return f"the data set cannot be used: {reasons or 'see its report'}"
