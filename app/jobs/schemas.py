"""Shapes of jobs: the request of each kind, and the job itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, model_validator

from app.http.schemas import Split, Storable, Strict, Time
from masktune.contract.vocabulary import JobKind, JobState, Stage
from models.config import (
    Augmentation,
    Crop,
    Fill,
    GroupSource,
    OptimizerName,
    Precision,
    ScheduleName,
    Target,
)
from models.selective import ScoreName

DatasetRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^ds_[0-9a-z]+$")]
JobRef = Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=r"^job_[0-9a-z]+$")]
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
"""An id or an alias."""
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]


class OptimizerFields(Strict):
    """The optimizer of ERM; the finetune continues with its state, under its own hyperparameters."""

    name: OptimizerName | None = None
    learning_rate: float | None = Field(None, gt=0)
    momentum: float | None = Field(None, ge=0, lt=1, description="For `sgd` only.")
    weight_decay: float | None = Field(None, ge=0)
    nesterov: bool | None = None


class ScheduleFields(Strict):
    """The learning rate over the epochs."""

    name: ScheduleName | None = None
    milestones: list[int] | None = Field(
        None, max_length=1000, description="For `multistep`, which they imply if no `name` is given."
    )
    gamma: float | None = Field(None, gt=0, le=1)


class MaskingFields(Strict):
    """What is masked: saliency above mean + `sigmas`·std of its positive values, or the top `share`."""

    method: Word | None = Field(None, description="A saliency method, or `random`.", examples=["xgradcam"])
    target: Target | None = None
    sigmas: float | None = None
    share: float | None = Field(None, gt=0, lt=1, description="null: use `sigmas`.")
    iterations: int | None = Field(None, ge=1, le=3)
    accumulate: bool | None = None
    fill: Fill | None = None
    crop: Crop | None = Field(
        None,
        description="The part of the image that the map is computed from. Its mask is stretched over the "
        "whole image: a fault of the paper's code, offered so that it can be measured.",
    )


class FinetuneFields(Strict):
    """The training on masked images."""

    epochs: int | None = Field(None, ge=1, le=1000)
    learning_rate: float | None = Field(None, gt=0, description="null: the last learning rate of ERM.")


class _Preset(Strict):
    preset: Word | None = Field(
        None, description="A name from GET /presets; single fields override it.", examples=["biased_mnist"]
    )
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    batch_size: int | None = Field(None, ge=2, le=65_536)
    precision: Precision | None = None


class _Training(_Preset):
    dataset: DatasetRef
    backbone: Word | None = Field(
        None,
        description="small_cnn, resnet32, or a torchvision or timm classifier by name; "
        "`torchvision/NAME` or `timm/NAME` where both have it. GET /backbones lists them.",
        examples=["small_cnn"],
    )
    pretrained: bool | ModelRef | None = Field(
        None,
        description="Published weights (GET /backbones says where they are), or the id or alias of a model "
        "with the same backbone.",
    )
    image_size: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="Side in pixels. By default that of a `pretrained` model; else the images' own, up to 64 "
        "pixels for `small_cnn` and `resnet32`, up to 224 for a frozen backbone, and 224 otherwise.",
    )
    epochs: int | None = Field(None, ge=1, le=10_000)
    optimizer: OptimizerFields | None = None
    schedule: ScheduleFields | None = None
    augmentation: Augmentation | None = None
    gpus: int | None = Field(None, ge=1, le=1024, description="GPUs of the worker to train on.")
    freeze_backbone: bool | None = Field(
        None,
        description="Train only the last layer, on features that the `pretrained` weights give and that are "
        "computed once for each image. The default for photographs, with the packaged weights. Excludes "
        "augmentation.",
    )
    as_released: bool | None = Field(
        None,
        description="Train as the paper's code does where it departs from the paper's text: the schedule is "
        "never stepped, the best epoch is the one with the highest mean of batch means, and the fields that "
        "the preset lists under `released` are set.",
    )


class ErmRequest(_Training):
    """Plain training. Every field except `dataset` has a default that suits the data set."""


class MasktuneRequest(_Training):
    """The whole method. Every field except `dataset` has a default that suits the data set."""

    masking: MaskingFields | None = None
    finetune: FinetuneFields | None = None
    control: bool | None = Field(
        None, description="Also continue ERM for the same budget without masks, for comparison."
    )


class MaskRequest(_Preset):
    """A mask set: the saliency of every training image under a model, thresholded."""

    model: ModelRef = Field(description="Id or alias.")
    dataset: DatasetRef | None = Field(None, description="Default: the one the model was trained on.")
    masking: MaskingFields | None = None


class FinetuneRequest(_Preset):
    """Continue training a model on the masked images of a mask set."""

    mask_set: JobRef = Field(description="Id of a mask job that succeeded.")
    finetune: FinetuneFields | None = None
    masking: MaskingFields | None = Field(
        None,
        description="`fill`, and with 2 or 3 `iterations` how the later mask sets are made and whether masks "
        "`accumulate`. With one iteration, `method`, `target`, `sigmas`, `share` and `crop` are those of "
        "`mask_set`; other values are refused.",
    )
    augmentation: Augmentation | None = None
    gpus: int | None = Field(None, ge=1, le=1024)


class HeadFields(Strict):
    """How groups are inferred, and how the last layer is fitted; each penalty is tried."""

    threshold: float | None = Field(
        None, gt=0, lt=1, description="A label with a held-out probability below this counts as a mistake."
    )
    rounds: int | None = Field(None, ge=0, le=20, description="Rounds that sharpen the mistakes.")
    judge_penalties: list[float] | None = Field(None, min_length=1, max_length=20)
    penalties: list[float] | None = Field(None, min_length=1, max_length=20)
    folds: int | None = Field(None, ge=2, le=20)
    repeats: int | None = Field(None, ge=1, le=20)


class RetrainHeadRequest(Strict):
    """Keep a model's backbone and retrain its last layer, balanced over groups, given or inferred."""

    model: ModelRef = Field(description="Id or alias, usually of an ERM model.")
    dataset: DatasetRef | None = Field(None, description="Default: the one the model was trained on.")
    groups: GroupSource | None = Field(
        None,
        description="given: those of the data set. cross_mistakes (default): by what heads that were fitted "
        "on other samples get wrong. disagreement: by where `second_model` differs. saliency_clusters: by "
        "where the model looks. All except `given` are inferred, and marked so.",
    )
    second_model: ModelRef | None = Field(None, description="Id or alias; with `disagreement` only.")
    head: HeadFields | None = None
    seed: int | None = Field(None, ge=0, le=2**63 - 1)
    control: bool | None = Field(None, description="Also fit the same layer without groups, for comparison.")


class EvaluateRequest(Strict):
    """Measure a model on the splits of a data set with the same classes."""

    model: ModelRef = Field(description="Id or alias.")
    dataset: DatasetRef | None = Field(None, description="Default: the one the model was trained on.")
    splits: list[Split] = Field(["val", "test"], min_length=1, max_length=7)


class PredictRequest(Strict):
    """Predict every sample of a split, into a file. At most one of coverage, max_risk and min_score."""

    model: ModelRef = Field(description="Id or alias.")
    dataset: DatasetRef | None = Field(None, description="Default: the one the model was trained on.")
    split: Split = "test"
    output: Literal["parquet", "csv"] = "parquet"
    coverage: float | None = Field(None, gt=0, le=1)
    max_risk: float | None = Field(None, gt=0, lt=1)
    risk_confidence: float | None = Field(None, ge=0.5, lt=1, description="With max_risk only. Default 0.99.")
    min_score: float | None = Field(None, gt=0, le=1)
    on_uncertified: Literal["abstain", "error"] = "abstain"
    score: ScoreName | None = Field(None, description="Confidence score. Default: the calibration's.")
    explain: bool = Field(False, description="Add a column with the raw saliency map.")
    method: Word = Field("xgradcam", description="Saliency method for `explain`.")

    @model_validator(mode="after")
    def _one_policy(self) -> PredictRequest:
        asked = [n for n in ("coverage", "max_risk", "min_score") if getattr(self, n) is not None]
        if len(asked) > 1:
            raise ValueError(f"give at most one policy, not {' and '.join(asked)}")
        if self.risk_confidence is not None and self.max_risk is None:
            raise ValueError("risk_confidence is only for use with max_risk")
        return self


class Progress(BaseModel):
    """How far a job is."""

    fraction: float = Field(0.0, description="Of the whole job, 0..1.")
    stage: Stage | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    images_per_second: float | None = None


class Job(BaseModel):
    """A job."""

    id: str
    kind: JobKind
    state: JobState
    stage: Stage | None
    dataset: str | None
    progress: Progress
    attempt: int
    params: dict[str, Any] = Field(description="The parameters, fully resolved.")
    inputs: dict[str, Any] = Field(description="The model or mask set that the job reads.")
    models: dict[str, str] = Field(description="Arm → id of the model.")
    metrics: dict[str, Any]
    error: dict[str, Any] | None = Field(description="A problem object.")
    events: int = Field(description="Number of the newest event.")
    created_at: Time
    queued_at: Time | None
    started_at: Time | None
    cancelling_at: Time | None
    ended_at: Time | None
    links: dict[str, str]


class Event(BaseModel):
    """Something that happened to a job. `id` counts up by one from 1. Progress within epochs is deleted some
    days after the job's end (`MASKTUNE_PROGRESS_DAYS`)."""

    id: int
    type: Literal["state", "stage", "progress", "metrics", "log"]
    at: Time
    data: dict[str, Any]
