"""The work of the child process: run the stages of one job in order and report each of them.

torch is imported only once a stage needs it; an import job never does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import version
from platform import machine
from queue import SimpleQueue

from PIL import features

from core.errors import JobError
from core.loading import loading
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import HeadConfig, Hyperparameters, MitigateConfig
from masktune.contract.vocabulary import CONTROLS, JobKind, Stage
from models.data.report import ImportStopped
from models.data.splits import SPLITS
from models.run import Progress, Stopped, device_name, resolve_device
from worker.child.failures import explain
from worker.child.pipes import Reporter, ShardOrder, ShardRequests
from worker.context import StageContext
from worker.passes.shards import ShardedPass, Take
from worker.protocol import (
    STOPPED,
    Done,
    PassBegan,
    PassSpec,
    ProgressReport,
    Spec,
    StageFinished,
    StageStarted,
)
from worker.results import AnyResult, CalibrateResult, ImportResult, trained_models
from worker.workspace import Workspace

# Images in forward passes, or seconds of fits on two cores; what each takes until some were timed, and how
# many such count beside those: one slow step of a fit tells little of the next.
Cost = tuple[float, float]
_PACES, _WEIGHTS = (0.01, 1.0), (0.0, 3.0)


def _costs(context: StageContext, stages: Sequence[Stage]) -> Mapping[Stage, Cost]:
    """Of a job's `stages`; all alike unless it trains.

    A training step costs three forward passes: one forward, and a backward worth two.
    With a frozen backbone, steps cost next to nothing once the features are there. Where groups are inferred,
    the features of early stages cost a third more. The first image costs as much as a hundred, for libraries
    are loaded with it.
    Fits cost the same whatever the network. `worker.report.saliency` has the limits of maps and masks.
    """
    params, arms = context.spec.params, context.spec.model_ids
    if not isinstance(params, Hyperparameters):
        return dict.fromkeys(stages, (1.0, 0.0))
    train, val, calibration, test = (context.store.counts[split] for split in SPLITS)
    frozen, epoch = params.freeze_backbone, 3 * train + val
    networks, explained = 1 if frozen else len(arms), sum(arm not in CONTROLS for arm in arms)
    finetune = params.masking.iterations * (train if frozen else params.finetune.epochs * epoch)
    heads = (params.head, len(params.further_seeds)) if isinstance(params, MitigateConfig) else None
    head, seeds = heads or (HeadConfig(), 0)
    # A fit of all penalties or rounds together, of the judges of about four stages, and of a head: by the
    # seconds that the jobs of `benchmarks.progress` took.
    fit = 0.03 + 6e-5 * train * len(context.store.classes)
    judges = 4 * (len(head.judge_penalties) + head.rounds) * fit if context.infers_groups else 0.0
    balanced = 0.6 * (len(head.penalties) + 1) * fit
    features = (1.3 if context.infers_groups else 1.0) * (train + val)
    costs = {
        Stage.ERM: (100 + (features if frozen else params.epochs * epoch), 0.0),
        Stage.INFER_GROUPS: (0.0, judges),
        Stage.RETRAIN_HEAD: (0.0, balanced),
        Stage.HEAD_CONTROL: (0.0, balanced / 2),  # nothing, where no class is divided
        Stage.MASK: (2 * train + 10 * min(val, 1024), 0.0),
        Stage.FINETUNE: (finetune, 0.0),
        Stage.CONTROL: (0.1 * finetune if frozen else finetune, 0.0),
    }
    images, fits = (seeds * sum(costs[one][kind] for one in costs if one in stages) for kind in (0, 1))
    costs |= {
        Stage.REPEAT: (0.0, fits) if frozen else (images, 0.0),
        Stage.CALIBRATE: (calibration if frozen else networks * (train + val + calibration), 0.0),
        Stage.EVALUATE: (
            networks * test
            + 2 * min(test, 2048) * (1 if frozen else explained)  # maps
            + 2 * min(test, 512) * explained,  # masks
            0.0,
        ),
    }
    return {stage: costs[stage] for stage in stages}


class JobProgress:
    """Turns the progress of a stage into the progress of the job, which never falls.

    A stage may pass over the images more than once: it computes features, then trains on them.
    The time left is that of the work left, at the paces of passes and of fits so far.
    """

    def __init__(self, costs: Mapping[Stage, Cost], done: Mapping[Stage, float]) -> None:
        """Of a job with these `costs` of its stages, of which some are `done`, in so many seconds."""
        self._costs, self._seconds, self._shares = costs, dict(done), dict.fromkeys(done, 1.0)
        self._counted = dict[Stage, float]()  # of the shares, in the fraction
        self._stage_at, self._fraction = time.monotonic(), 0.0

    def report(self, stage: Stage, progress: Progress, *, advanced: bool = False) -> ProgressReport:
        """The message about the progress of this stage; `advanced`: work was checkpointed."""
        done = progress.epoch + (progress.step / progress.steps if progress.steps else 0.0)
        share = min(1.0, done / progress.epochs) if progress.epochs else 0.0
        self._shares[stage] = share = max(share, self._shares.get(stage, 0.0))
        self._seconds[stage] = time.monotonic() - self._stage_at
        paces = self._pace(0), self._pace(1)
        costs = {one: cost[0] * paces[0] + cost[1] * paces[1] for one, cost in self._costs.items()}
        left = sum(cost * (1.0 - self._shares.get(one, 0.0)) for one, cost in costs.items())
        gained = sum(costs[one] * (part - self._counted.get(one, 0.0)) for one, part in self._shares.items())
        self._counted = dict(self._shares)
        # The share of the whole would fall whenever the rest turns out to take longer.
        self._fraction += (1.0 - self._fraction) * gained / (left + gained or 1.0)
        return ProgressReport(
            fraction=round(self._fraction, 4),
            stage=stage,
            stage_fraction=round(share, 4),
            epoch=progress.epoch,
            epochs=progress.epochs,
            step=progress.step,
            steps=progress.steps,
            images_per_second=round(progress.images_per_second, 1),
            eta_seconds=round(left, 1) if left < 0.995 * sum(costs.values()) else None,
            metrics=dict(progress.metrics),
            advanced=advanced,
        )

    def _pace(self, kind: int) -> float:
        """Seconds for each of the first or second number of the costs."""
        timed = [stage for stage in self._shares if self._costs[stage][kind]]
        amount = _WEIGHTS[kind] + sum(self._costs[stage][kind] * self._shares[stage] for stage in timed)
        seconds = _WEIGHTS[kind] * _PACES[kind] + sum(self._seconds[stage] for stage in timed)
        return seconds / amount if seconds and amount else _PACES[kind]

    def finished(self, stage: Stage) -> ProgressReport:
        """The message about a stage that has just finished."""
        last = self.report(stage, Progress(1, 1, 0, 1, 0.0))
        self._stage_at = time.monotonic()
        return last


def stage_function(stage: Stage) -> Callable[[StageContext], AnyResult]:
    """Return the function of a stage.

    Its module is imported on demand: an import job needs none of the others, nor torch, which takes a second.
    """
    name = "import_" if stage is Stage.IMPORT else stage.value
    package = "worker.report" if stage is Stage.EVALUATE else "worker.stages"
    function: Callable[[StageContext], AnyResult] = getattr(import_module(f"{package}.{name}"), name)
    return function


def load_stages() -> None:
    """Import all that the stages of any job but an import's may use, torch among it."""
    for stage in Stage:
        if stage is not Stage.IMPORT:
            stage_function(stage)
    from models.backbones.build import load_libraries  # imports torch

    load_libraries()


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
    orders: SimpleQueue[ShardOrder] = field(default_factory=SimpleQueue)

    @cached_property
    def device(self) -> str:
        """torch's name of the device.
        An import only decodes and counts, so it always runs on the CPU."""
        if self.spec.kind is JobKind.IMPORT:
            return "cpu"
        return device_of_slot(self.settings.device, self.spec.slot)

    @cached_property
    def progress(self) -> JobProgress:
        """The progress of the whole job, from the first use on."""
        done, left = self.spec.done, self.spec.stages
        costs = _costs(self.context(left[0]), [*done, *left])
        return JobProgress(costs, {stage: one.seconds or 0.0 for stage, one in done.items()})

    def run(self) -> int:
        """Run the remaining stages and return the exit code.
        Unexpected errors are raised."""
        try:
            for stage in self.spec.stages:
                self._run_stage(stage)
        except (Stopped, ImportStopped):
            return STOPPED
        except Exception as error:
            failure = explain(error)
            if failure is None:
                raise
            logger.exception("the job gave up")
            self.reporter.send(failure)
            return 0
        self.workspace.close(artifacts_of(self.spec.done))
        self.reporter.send(Done())
        return 0

    def _run_stage(self, stage: Stage) -> None:
        with loading():
            function = stage_function(stage)  # imports are not counted in the stage's time
        self.reporter.send(StageStarted(stage=stage))
        progress, started = self.progress, time.monotonic()
        stage_result = function(self.context(stage))
        if stage_result.seconds is None:
            stage_result = replace(stage_result, seconds=round(time.monotonic() - started, 3))
        stage_result = replace(stage_result, device=device_name(self.device))
        self.reporter.send(progress.finished(stage))
        keys = artifacts_of({stage: stage_result})
        if isinstance(stage_result, ImportResult) and not stage_result.ready and self.spec.dataset:
            keys += filter(None, [self.spec.dataset.source.get("upload")])  # stays beside an invalid data set
        sizes = {key: self.artifacts.size(key) for key in keys}
        self.reporter.send(StageFinished(result=stage_result, sizes=sizes))
        self._add(stage_result)
        if isinstance(stage_result, ImportResult) and not stage_result.ready:
            reasons = "; ".join(stage_result.problems)
            raise JobError("dataset_invalid", f"the data set cannot be used: {reasons or 'see its report'}")

    def context(self, stage: Stage) -> StageContext:
        """The stage's context: it reports progress to the supervisor and saves new epochs to the store."""
        saved = self._epochs(stage)

        def on_progress(progress: Progress) -> None:
            nonlocal saved
            newest = self._epochs(stage)
            advanced, saved = newest > saved or progress.checkpoint, newest
            if advanced and stage is not Stage.IMPORT:  # which has no checkpoints there, but its source
                self.workspace.save()
            self.reporter.send(self.progress.report(stage, progress, advanced=advanced))

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
            log=self.reporter.log,
            share=partial(self._share, stage),
        )

    def _share(self, stage: Stage, sharded: ShardedPass, numbers: Sequence[int]) -> Take | None:
        """Have the supervisor open the pass to all workers."""
        key = self.context(stage).key_of(sharded)
        opened = PassSpec(
            stage=stage,
            name=sharded.name,
            arguments=sharded.arguments or {},
            key=key,
            title=sharded.title,
            kind=kind_of(self.device, stage),
            threads=self.threads,
        )
        self.reporter.send(PassBegan(opened=opened, numbers=tuple(numbers)))
        return ShardRequests(key, self.reporter, self.orders).take

    def _stop_or_alive(self) -> bool:
        """`should_stop` for the loops of a stage, which call it at each step; each call is a sign of life."""
        self.reporter.alive()
        return self.should_stop()

    def _epochs(self, stage: Stage) -> int:
        """The number of checkpointed epochs; each finetune iteration but the last has its own folder."""
        folders = [self.workspace.path / stage, *self.workspace.path.glob(f"{stage}-*")]
        if not any(folder.exists() for folder in folders):
            return 0
        from models.training.checkpoints import CheckpointFolder  # imports torch

        return sum(max(CheckpointFolder(folder).epochs(), default=0) for folder in folders)

    def _add(self, stage_result: AnyResult) -> None:
        """Add the result to the spec for the next stages, as a restart would read it from the database."""
        self.spec = replace(
            self.spec,
            done=self.spec.done | {stage_result.stage: stage_result},
            models=self.spec.models | {model.id: model for model in trained_models([stage_result])},
        )


def artifacts_of(done: Mapping[Stage, AnyResult]) -> list[str]:
    """The keys of all artifacts that these stages may have written."""
    calibrated = done.get(Stage.CALIBRATE)
    calibrations = calibrated.calibrations if isinstance(calibrated, CalibrateResult) else {}
    parts = (*done.values(), *trained_models(done.values()), *calibrations.values())
    backbones = (f"backbones/{model.id}" for model in trained_models(done.values()))
    return [*backbones, *(part.artifact for part in parts if part.artifact is not None)]


_CODECS = ("libjpeg_turbo", "jpg_2000", "zlib", "libtiff", "webp")
"""Of Pillow, which may be built with others."""


def kind_of(device: str, stage: Stage) -> str:
    """What decides the bytes of a shard, besides the job: the libraries' versions, the device, and the
    instructions of the CPU that torch uses."""
    if stage is Stage.IMPORT:
        libraries = (f"{name} {version(name)}" for name in ("Pillow", "numpy", "pyarrow", "pydicom"))
        codecs = (f"{name} {features.version(name)}" for name in _CODECS)
        return ", ".join([*libraries, *codecs, machine()])
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return f"{device_name(device)}, torch {torch.__version__}, {capability}"


def device_of_slot(name: str, slot: int) -> str:
    """The device of a worker slot: slots share the host's GPUs round-robin."""
    import torch

    device = resolve_device(name)
    if device.type == "cuda" and name in ("auto", "cuda"):
        device = torch.device("cuda", slot % torch.cuda.device_count())
    return str(device)
