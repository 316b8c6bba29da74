"""A job, as the API answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from masktune.contract.base import (
    KindName,
    Page,
    Resource,
    Shape,
    StageName,
    Time,
)
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig
from masktune.contract.image_answers import ImageAnswers
from masktune.contract.job_params import EvaluateParams, ImportParams, JobParams, PredictParams
from masktune.contract.jobs.judgements import Judgement
from masktune.contract.models import SplitMetrics
from masktune.contract.parameter_fields import holds
from masktune.contract.problems import Problem
from masktune.contract.report.accuracy import JobVerdict
from masktune.contract.serving.prediction_table import PredictionCounts
from masktune.contract.vocabulary import JobKind, JobState

JobMetrics = dict[str, dict[str, SplitMetrics]]
"""Figures by arm and split."""


class Progress(Shape):
    """How far a job is."""

    fraction: float = Field(0.0, description="Of the whole job, 0..1.")
    stage: StageName | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    images_per_second: float | None = None


class JobInputs(Shape):
    """What a job reads beside its data set."""

    model: str | None = None
    mask_set: str | None = Field(None, description="Id of a mask job.")
    image_answers: ImageAnswers | None = Field(
        None, description="What a person had said of images of the data set, as it was when the job started."
    )


class Job(Resource):
    """A job. Each kind has its own class, with its own `params`; this one is for kinds that are newer."""

    by_kind: ClassVar[dict[str, type[Job]]] = {}

    kind: KindName
    state: JobState
    stage: StageName | None = None
    dataset: str | None = None
    progress: Progress = Field(default_factory=Progress)
    attempt: int = 0
    priority: int = 0
    queue_position: int | None = Field(
        None,
        description="Of a queued job, 1 for the one that is claimed next, counted among imports or among all "
        "other jobs; null in lists of jobs.",
    )
    waiting_for: str | None = Field(
        None, description="What a queued job waits for, in words; null in lists of jobs."
    )
    params: JobParams = Field(default_factory=JobParams)
    request: dict[str, Any] = Field(
        {}, description="The body that started it: what was asked for, while `params` has every field."
    )
    inputs: JobInputs = Field(default_factory=JobInputs)
    models: dict[str, str] = Field({}, description="Arm → id of the model.")
    metrics: JobMetrics = {}
    verdict: JobVerdict | None = Field(None, description="What the job's report decides, if it compares.")
    current: Judgement | None = Field(
        None,
        description="What is known of its models now: of the job's own report and those of `evaluate` jobs "
        "on its models, that which rests on the most, in the order of `evaluations` of a model. Null in "
        "lists of jobs.",
    )
    judgements: list[Judgement] = Field(
        [],
        description="All of them, the newest first; empty in lists of jobs.",
    )
    error: Problem | None = Field(None, description="Why the job failed, and what to do about it.")
    events: int = Field(0, description="Number of the newest event.")
    created_at: Time
    queued_at: Time | None = None
    started_at: Time | None = None
    cancelling_at: Time | None = None
    ended_at: Time | None = None
    links: dict[str, str] = {}

    @property
    def ended(self) -> bool:
        return self.state.ended

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, source: Any, handler: ModelWrapValidatorHandler[Job]) -> Job:
        """Read a job as the class of its kind."""
        own = cls.by_kind.get(str(source.get("kind"))) if cls is Job and isinstance(source, Mapping) else None
        return handler(source) if own is None else own.model_validate(source)


@holds(Hyperparameters)
class TrainingParams(JobParams):
    """The hyperparameters of a training, of a mask set and of a finetune."""


@holds(MitigateConfig)
class MitigateParams(JobParams):
    """How a network is trained, and what is tried against a shortcut."""


@holds(RetrainConfig)
class RetrainHeadParams(JobParams):
    """How a head is retrained."""


class ImportJob(Job):
    """The import of a data set."""

    kind: Literal[JobKind.IMPORT]
    params: ImportParams = Field(default_factory=ImportParams)


class TrainingJob(Job):
    """A job that trains a network, or makes the masks for it."""

    kind: Literal[JobKind.ERM, JobKind.MASK, JobKind.FINETUNE, JobKind.MASKTUNE]
    params: TrainingParams = Field(default_factory=TrainingParams)


class MitigateJob(Job):
    """A job that tries what suits the data against a shortcut, and recommends one model."""

    kind: Literal[JobKind.MITIGATE]
    params: MitigateParams = Field(default_factory=MitigateParams)


class RetrainHeadJob(Job):
    """A job that refits the last layer of a model."""

    kind: Literal[JobKind.RETRAIN_HEAD]
    params: RetrainHeadParams = Field(default_factory=RetrainHeadParams)


class EvaluateJob(Job):
    """The measurement of a model."""

    kind: Literal[JobKind.EVALUATE]
    params: EvaluateParams = Field(default_factory=EvaluateParams)


class PredictJob(Job):
    """The prediction of a whole split, or of every image of a data set."""

    kind: Literal[JobKind.PREDICT]
    params: PredictParams = Field(default_factory=PredictParams)
    counts: PredictionCounts | None = Field(None, description="What its table holds, once it is written.")


Job.by_kind |= {
    **dict.fromkeys((JobKind.ERM, JobKind.MASK, JobKind.FINETUNE, JobKind.MASKTUNE), TrainingJob),
    JobKind.IMPORT: ImportJob,
    JobKind.MITIGATE: MitigateJob,
    JobKind.RETRAIN_HEAD: RetrainHeadJob,
    JobKind.EVALUATE: EvaluateJob,
    JobKind.PREDICT: PredictJob,
}
AnyJob = Annotated[
    ImportJob | MitigateJob | TrainingJob | RetrainHeadJob | EvaluateJob | PredictJob,
    Field(discriminator="kind"),
]


class JobPage(Page[AnyJob]):
    """A page of jobs."""
