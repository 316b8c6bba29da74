"""The context of a stage: what it reads, where it writes, and how it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self, TypeVar

from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig
from masktune.contract.job_params import AnyParams, EvaluateParams, PredictParams
from masktune.contract.vocabulary import JobKind, Stage
from models.data.store import Store
from models.run import Progress, Run, resolve_device
from worker.protocol import Spec
from worker.results import MaskResult
from worker.workspace import Workspace

Params = TypeVar("Params", bound=AnyParams)


@dataclass(frozen=True)
class StageContext:
    """One stage of one job. `device` is torch's device name, `threads` the number of CPU threads; `log`
    writes a line to the job's log.
    """

    spec: Spec
    stage: Stage
    settings: Settings
    artifacts: Artifacts
    workspace: Workspace
    device: str
    threads: int
    on_progress: Callable[[Progress], None]
    should_stop: Callable[[], bool]
    log: Callable[[str], None]
    images: Store | None = None
    """What the stage sees of the data set, where that is not the whole."""

    @cached_property
    def run(self) -> Run:
        """The run that the functions of `models` take. Creating it imports torch."""
        return Run(
            device=resolve_device(self.device),
            seed=self.seed,
            on_progress=self.on_progress,
            should_stop=self.should_stop,
        )

    @property
    def seed(self) -> int:
        params = self.spec.params
        return 0 if isinstance(params, EvaluateParams | PredictParams) else params.seed

    def with_seed(self, seed: int, *, on_progress: Callable[[Progress], None]) -> Self:
        """The same job with another seed, for which no stage is done."""
        params = replace(self.job_params(Hyperparameters), seed=seed)
        spec = replace(self.spec, params=params, done={})
        return replace(self, spec=spec, on_progress=on_progress)

    def job_params(self, kind: type[Params]) -> Params:
        """The parameters of a job of the kind that has such ones."""
        params = self.spec.params
        assert isinstance(params, kind)
        return params

    @cached_property
    def params(self) -> Hyperparameters:
        """The hyperparameters of a training job, with what its mask stage chose for `auto`."""
        params = self.job_params(Hyperparameters)
        if isinstance(params, MitigateConfig):
            params = params.training
        masks = self.spec.stage_result(MaskResult)
        if masks is None or masks.sigmas is None:
            return params
        masking = params.masking.with_chosen(masks.sigmas.sigmas, masks.sigmas.iterations)
        return replace(params, masking=masking)

    @property
    def frozen(self) -> bool:
        """Whether the job trains the last layer alone."""
        return isinstance(self.spec.params, Hyperparameters) and self.spec.params.freeze_backbone

    @property
    def retraining(self) -> RetrainConfig:
        """How a job retrains a head that does."""
        params = self.spec.params
        return params.retraining if isinstance(params, MitigateConfig) else self.job_params(RetrainConfig)

    @cached_property
    def store(self) -> Store:
        """The packed data set that the job reads. A model that is only run sees 16-bit images through its own
        window, as in the service."""
        if self.images is not None:
            return self.images
        assert self.spec.dataset is not None
        assert self.spec.dataset.artifact is not None
        store = Store.open(self.artifacts.folder(self.spec.dataset.artifact))
        if self.spec.kind not in (JobKind.EVALUATE, JobKind.PREDICT) or self.spec.model is None:
            return store
        from models.export import read_card  # imports torch

        card = read_card(self.artifacts.folder(self.spec.models[self.spec.model].artifact))
        return store.with_window(card.grey_window)

    def key(self, name: str) -> str:
        """The key of an artifact of this job."""
        return f"jobs/{self.spec.job_id}/{name}"

    def progress(self, done: int, total: int, images_per_second: float = 0.0) -> None:
        """Report the progress of a stage without epochs."""
        self.on_progress(Progress(0, 1, done, max(1, total), images_per_second))
