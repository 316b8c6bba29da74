"""The context of a stage: what it reads, which models it compares, where it writes, and how it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple, Self, TypeVar

from core.errors import JobError
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig
from masktune.contract.job_params import AnyParams, EvaluateParams, PredictParams
from masktune.contract.vocabulary import CONTROLS, STAGES, Arm, JobKind, Stage
from models.data.group_sizes import groups_divide
from models.data.store import Store
from models.run import OnProgress, Progress, Run, resolve_device
from worker.passes.shards import PassRun, ShardCounts, ShardedPass, Take, shard_key
from worker.protocol import Spec
from worker.results import MaskResult, ModelSpec, trained_models
from worker.workspace import Workspace

Params = TypeVar("Params", bound=AnyParams)


@dataclass(frozen=True)
class StageContext:
    """One stage of one job.
    `device` is torch's device name, `threads` the number of CPU threads; `log` writes a line to the job's
    log, `share` lets other workers take shards of a pass, and says how this process takes some.
    """

    spec: Spec
    stage: Stage
    settings: Settings
    artifacts: Artifacts
    workspace: Workspace
    device: str
    threads: int
    on_progress: OnProgress
    should_stop: Callable[[], bool]
    log: Callable[[str], None]
    share: Callable[[ShardedPass, Sequence[int]], Take | None] = lambda *_: None
    images: Store | None = None
    """What the stage sees of the data set, where that is not the whole."""

    @cached_property
    def run(self) -> Run:
        """The run that the functions of `models` take.
        Creating it imports torch."""
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

    def with_seed(self, seed: int, *, on_progress: OnProgress) -> Self:
        """The same job with another seed, for which no stage is done."""
        params = replace(self.job_params(Hyperparameters), seed=seed)
        return replace(self, spec=replace(self.spec, params=params, done={}), on_progress=on_progress)

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
    def needs_groups(self) -> bool:
        """Whether the job balances a head over groups."""
        return Stage.RETRAIN_HEAD in STAGES[self.spec.kind]

    @property
    def infers_groups(self) -> bool:
        """Whether the job infers groups: one that needs none does so only where the data set has none."""
        if Stage.INFER_GROUPS not in STAGES[self.spec.kind]:
            return False
        return self.needs_groups or not self.store.has_groups

    @cached_property
    def retraining(self) -> RetrainConfig:
        """How a job retrains a head that does, with the source of groups that `auto` stands for."""
        params = self.spec.params
        config = params.retraining if isinstance(params, MitigateConfig) else self.job_params(RetrainConfig)
        if config.groups == "auto":
            config = replace(config, groups="labels" if groups_divide(self.store) else "early_stages")
        return config

    @property
    def answers(self) -> dict[int, bool]:
        """Of single images, by row, whether a person said that they lack the pattern of their class."""
        answers = self.spec.image_answers
        return {} if answers is None else {one.sample: one.lacks_pattern for one in answers.answers}

    @property
    def right_labels(self) -> list[int]:
        """Rows of images whose label is right, as a person said."""
        return [] if self.spec.image_answers is None else self.spec.image_answers.label_right

    @cached_property
    def store(self) -> Store:
        """The packed data set that the job reads.
        A model that is only run sees 16-bit images through its own window, as in the service."""
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

    def key_of(self, sharded: ShardedPass, number: int | None = None) -> str:
        """The key of a shard of a pass, or of the parent of them all."""
        key = f"{self.workspace.key}/{sharded.key}"
        return key if number is None else shard_key(key, number)

    def compute_shards(self, sharded: ShardedPass, on_progress: OnProgress) -> ShardCounts:
        """Compute the missing shards of a pass, with other workers if there are any.
        Raises as the pass."""
        counts = PassRun(
            sharded,
            self.artifacts,
            self.key_of(sharded),
            on_progress,
            share=partial(self.share, sharded),
            should_stop=self.should_stop,
        ).run()
        if counts.others:
            self.log(f"{sharded.title}: {counts.in_words()}")
        return counts

    def progress(
        self, done: int, total: int, images_per_second: float = 0.0, *, checkpoint: bool = False
    ) -> None:
        """Report the progress of a stage without epochs."""
        self.on_progress(Progress(0, 1, done, max(1, total), images_per_second, checkpoint=checkpoint))


class ComparedModels(NamedTuple):
    """The models by arm.
    `own`: those that the job trained or was given to evaluate; `all`: with the sources.

    A source is a model that an own one was made from; its arm is that of `arm_before`. The models of another
    job that are judged are all own.
    """

    own: dict[Arm, ModelSpec]
    all: dict[Arm, ModelSpec]


def compared_models(context: StageContext) -> ComparedModels:
    """The models of this job in the order of `Arm`: ERM, then the models made from it, then the controls.

    Raises JobError if a model's classes are not the data set's.
    """
    specs, judged_job = context.spec.models, context.spec.judged_job
    source = [specs[context.spec.model]] if context.spec.model else []
    own = {model.arm: model for model in trained_models(context.spec.done.values()) or source}
    partners = [specs[model.erm_id] for model in own.values() if model.erm_id and model.erm_id in specs]
    if context.spec.kind is JobKind.RETRAIN_HEAD and context.spec.model:
        partners.append(specs[context.spec.model])  # its backbone may be a MaskTune model's
    everything = {arm_before(partner): partner for partner in partners} | own
    if judged_job is not None:
        own = everything = {arm: specs[id] for arm, id in judged_job.models.items()}
    for model in everything.values():
        if model.classes != context.store.classes:  # its answers would be counted wrongly
            raise JobError(
                "model_of_another_dataset",
                f"model {model.id} has the classes {', '.join(model.classes)}, but the data set has "
                f"{', '.join(context.store.classes)}; use a data set with the same classes",
            )
    order = [arm for arm in Arm if arm in everything]
    return ComparedModels(
        {arm: own[arm] for arm in order if arm in own}, {arm: everything[arm] for arm in order}
    )


def arm_before(model: ModelSpec) -> Arm:
    """The arm under which a source model is compared.
    The control of another job is not this job's control, and an earlier retrained head is not its treatment
    arm: both are the `BASELINE`."""
    return Arm.BASELINE if model.arm in (*CONTROLS, Arm.RETRAINED) else model.arm
