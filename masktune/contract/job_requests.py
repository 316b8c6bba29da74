"""The request of each kind of job. Hyperparameters come from `masktune.contract.hyperparameters`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from masktune.contract.base import Address, DatasetRef, JobRef, Metadata, ModelRef, Name, Strict, Word
from masktune.contract.hyperparameters import (
    Hyperparameters,
    MaskingConfig,
    MitigateConfig,
    RetrainConfig,
    ScoreName,
)
from masktune.contract.hyperparameters.parameters import declared
from masktune.contract.job_params import RowOrder
from masktune.contract.parameter_fields import accepts
from masktune.contract.serving.predictions import CERTIFIED_POLICIES, policy_fields
from masktune.contract.vocabulary import Split

_TRAINED_ON = Field(None, description="Default: the one the model was trained on.")
_MODEL = Field(description="Id or alias.")


class JobRequest(Strict):
    """What every job may be given."""

    name: Name | None = Field(None, description="What to call the job.")
    metadata: Metadata = Field(default_factory=dict, description="Notes of your own.")
    priority: int = Field(
        0, ge=-100, le=100, description="Queued jobs start from the highest, those of equal priority by age."
    )


class _Preset(JobRequest):
    preset: Word | None = Field(
        None, description="A name from GET /presets; single fields override it.", examples=["biased_mnist"]
    )


class _Training(_Preset):
    dataset: DatasetRef
    pretrained: bool | ModelRef | None = Field(None, description=declared(Hyperparameters)["pretrained"].doc)


@accepts(
    Hyperparameters,
    *(name for name in declared(Hyperparameters) if name not in ("masking", "finetune", "control")),
)
class ErmRequest(_Training):
    """Plain training. Every field except `dataset` has a default that suits the data set."""


@accepts(MitigateConfig)
class MitigateRequest(_Training):
    """The way past a shortcut that suits the data. Every field except `dataset` has a default that does."""


@accepts(Hyperparameters)
class MasktuneRequest(_Training):
    """The paper's whole method. Every field except `dataset` has a default that suits the data set."""


@accepts(Hyperparameters, "seed", "batch_size", "precision", "masking")
class MaskRequest(_Preset):
    """A mask set: the saliency of every training image under a model, thresholded."""

    model: ModelRef = _MODEL
    dataset: DatasetRef | None = _TRAINED_ON


@accepts(
    Hyperparameters,
    *("seed", "batch_size", "precision", "finetune", "masking", "augmentation"),
    masking="`fill`, and with 2 or 3 `iterations` how the later mask sets are made and whether masks "
    "`accumulate`. With one iteration, `method`, `target`, `sigmas`, `share` and `crop` are those of "
    "`mask_set`; other values are refused.",
)
class FinetuneRequest(_Preset):
    """Continue training a model on the masked images of a mask set."""

    mask_set: JobRef = Field(description="Id of a mask job that succeeded.")


@accepts(RetrainConfig)
class RetrainHeadRequest(JobRequest):
    """Keep a model's backbone and retrain its last layer, balanced over groups, labelled or inferred."""

    model: ModelRef = Field(description="Id or alias, usually of an ERM model.")
    dataset: DatasetRef | None = _TRAINED_ON


class EvaluateRequest(JobRequest):
    """Measure a model on the splits of a data set with the same classes; or, with `job`, judge all models of
    a job on every image of another data set, whose classes are some or all of the job's."""

    model: ModelRef | None = Field(None, description="Id or alias. Not with `job`.")
    job: JobRef | None = Field(
        None,
        description="Id of the job whose models are judged in one report. Images and subjects that trained "
        "them do not count.",
    )
    dataset: DatasetRef | None = Field(
        None, description="Default: the one the model was trained on. With `job` it must be named."
    )
    splits: list[Split] = Field(
        ["val", "test"],
        min_length=1,
        max_length=7,
        description="Not with `job`. Where the data set holds test images alone, the default is test.",
    )
    breaks_pattern: bool = Field(
        False,
        description="With `job`: whoever brings the images says that they lack the pattern which others of "
        "their class share. Then they decide without groups too.",
    )


class PredictRequest(JobRequest):
    """Predict every sample of a split, into a file. At most one policy: coverage, max_risk, min_score, or by
    class max_class_risk, max_missed or both."""

    model: ModelRef = _MODEL
    dataset: DatasetRef | None = Field(
        None,
        description="Default: the one the model was trained on. Of one without labels that is still being "
        "imported, the job waits for the import.",
    )
    source: Address | None = Field(
        None,
        description="Instead of `dataset`: the address of images without labels, or of a table of their "
        "paths, that the operator allows. A data set is made of it, called as the job or else after the "
        "address, and predicted once it is imported.",
        examples=["s3://bucket/today/"],
    )
    split: Literal[Split, "all"] = Field(
        "test",
        description="`all`: every image, and each file that could not be read, with the reason. It is the "
        "only one of a `source`.",
    )
    output: Literal["parquet", "csv"] = "parquet"
    order: RowOrder = Field(
        "stored", description="Of the rows: as the data set has them, or by `score`, the lowest first."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Most candidates per row.")
    coverage: float | None = Field(None, gt=0, le=1)
    max_risk: float | None = Field(None, gt=0, lt=1)
    max_class_risk: float | None = Field(None, gt=0, lt=1)
    max_missed: float | None = Field(None, gt=0, lt=1)
    risk_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Of max_risk, or of all promises by class. Default 0.99."
    )
    min_score: float | None = Field(None, gt=0, le=1)
    on_uncertified: Literal["abstain", "error"] = "abstain"
    set_coverage: float | None = Field(
        None, gt=0, lt=1, description="Add a column `labels`: the classes that an input may be."
    )
    score: ScoreName | None = Field(None, description="Confidence score. Default: the calibration's.")
    explain: bool = Field(False, description="Add a column with the raw saliency map.")
    method: Word = Field(MaskingConfig.method, description="Saliency method for `explain`.")

    @model_validator(mode="after")
    def _one_policy(self) -> PredictRequest:
        policies = policy_fields(self)
        if len({*policies.values()}) > 1:
            detail = f"give at most one policy, not {' and '.join(policies)}"
            raise PydanticCustomError("one-policy", "{detail}", {"detail": detail})
        if self.risk_confidence is not None and CERTIFIED_POLICIES.isdisjoint(policies.values()):
            raise PydanticCustomError(
                "needs-max-risk",
                "risk_confidence is only for use with max_risk, max_class_risk or max_missed",
            )
        return self
