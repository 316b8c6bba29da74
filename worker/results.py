"""What the stages of a job leave: a type for each, which later stages, the recorder and the report read.

The database keeps them with their job as JSON (`result_to_json`), in `done`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal, cast

from pydantic import ConfigDict, Field, TypeAdapter

from masktune.contract.base import Json as Json
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import Arm, Stage
from models.masking.summaries import MaskSetSummary, SigmasChoice

# --- models, and what is stored with them -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The tables of a model's scores, and the temperature of its probabilities; `created_at` in seconds since
    1970, `job` is the one that made them. What `n` counts is in `worker.stages.calibrate.SampleCounts`.
    An input further than `unlike_threshold` is unlike the training images; None if the model cannot tell."""

    id: str
    artifact: str
    n: int
    n_subjects: int | None
    copies_left_out: int | None
    same_subject_left_out: int | None
    score_name: ScoreName
    scores: tuple[str, ...]
    temperature: float
    created_at: float
    job: str | None = None
    unlike_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class PatternJudgeSpec:
    """A judge by the output of `module`, fitted by `job`; `created_at` in seconds since 1970."""

    artifact: str
    job: str
    module: str
    created_at: float


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model of the registry, or one that a stage has made; `image_size` in pixels.
    `backbone_artifact` has its backbone if that is shared, with weights of this digest (`tensors_digest`). No
    policy rests on a calibration that `calibration_is_imported`, with the model from another service, as
    version 0.1.0 did."""

    id: str
    arm: Arm
    artifact: str
    erm_id: str | None
    job_id: str | None
    classes: tuple[str, ...]
    backbone: str
    image_size: int
    backbone_artifact: str | None = None
    backbone_digest: str | None = None
    calibration: Calibration | None = None
    calibration_is_imported: bool = False
    pattern_judge: PatternJudgeSpec | None = None


# --- results of stages ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage took: seconds and the name of the device, which the child measures if the stage does not;
    None where there is no rate."""

    seconds: float | None = None
    images_per_second: float | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImportResult(StageResult):
    """Of an import; `ready` says whether the data set can be used, and `problems` why not.
    `summary` is the data set's report."""

    stage: Literal[Stage.IMPORT] = Stage.IMPORT
    artifact: str
    ready: bool
    problems: tuple[str, ...]
    classes: tuple[str, ...]
    summary: Json


@dataclass(frozen=True, kw_only=True)
class TrainingResult(StageResult):
    """Of a training.
    `artifact` holds its checkpoints; `epoch` (from 1) is the one that the model is of, and `weights` is their
    digest."""

    stage: Literal[Stage.ERM, Stage.FINETUNE, Stage.CONTROL]
    artifact: str
    model: ModelSpec
    epoch: int
    weights: str


@dataclass(frozen=True, kw_only=True)
class GroupsResult(StageResult):
    """Of inferring groups: `artifact` is described in `worker.stages.infer_groups`; None where the data set
    has groups of its own and no head is to be balanced. `judges` has the pattern judge by the id of the model
    whose network it reads; none if no module sees whose pattern an image shows."""

    stage: Literal[Stage.INFER_GROUPS] = Stage.INFER_GROUPS
    artifact: str | None
    judges: dict[str, PatternJudgeSpec] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MaskResult(StageResult):
    """Of masking: `artifact` is the mask set, `sigmas` what was chosen for `auto`."""

    stage: Literal[Stage.MASK] = Stage.MASK
    artifact: str
    summary: MaskSetSummary
    sigmas: SigmasChoice | None


@dataclass(frozen=True, kw_only=True)
class HeadResult(StageResult):
    """Of a fit of the last layer, balanced over `groups`: the samples of each by name."""

    stage: Literal[Stage.RETRAIN_HEAD, Stage.HEAD_CONTROL]
    artifact: str
    model: ModelSpec
    weights: str
    penalty: float
    groups: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class RepeatResult(StageResult):
    """Of the further seeds: `artifact` holds the answers of their models."""

    stage: Literal[Stage.REPEAT] = Stage.REPEAT
    artifact: str


@dataclass(frozen=True, kw_only=True)
class CalibrateResult(StageResult):
    """Calibrations by model id; without any, if no image is left to calibrate with, there is no artifact."""

    stage: Literal[Stage.CALIBRATE] = Stage.CALIBRATE
    artifact: str | None
    calibrations: dict[str, Calibration]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's figures on test images, as in `masktune.contract.models.Evaluation`;
    `created_at` in seconds since 1970."""

    dataset: str
    dataset_name: str
    n: int
    groups: Literal["labelled", "inferred"] | None
    smallest_group: int | None
    accuracy: float
    worst_group_accuracy: float | None
    low: float | None
    high: float | None
    created_at: float


@dataclass(frozen=True, kw_only=True)
class EvaluateResult(StageResult):
    """Of the report `artifact`: the ids of the models by arm, their figures by arm and split.
    `verdict` is a `JobVerdict` of `masktune.contract.jobs`. `evaluations` stay with the models, by arm; none
    without test images. `next` is what to do, as the report says it."""

    stage: Literal[Stage.EVALUATE] = Stage.EVALUATE
    artifact: str
    compared: dict[Arm, str]
    metrics: dict[Arm, Json]
    verdict: Json | None
    evaluations: dict[Arm, Evaluation] = field(default_factory=dict)
    next: list[Json] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PredictResult(StageResult):
    """Of a predict job: the name of its file in `artifact`, the rows in it, how many have each decision, how
    many were answered with each label, and how many were not for each reason. `drift` is a `JobDrift` of
    `masktune.contract.serving.prediction_table`, None without a calibration."""

    stage: Literal[Stage.PREDICT] = Stage.PREDICT
    artifact: str
    file: str
    rows: int
    answered: int
    abstained: int
    unreadable: int
    labels: dict[str, int]
    abstain_reasons: dict[str, int] = field(default_factory=dict)
    drift: Json | None = None


AnyResult = Annotated[
    ImportResult
    | TrainingResult
    | GroupsResult
    | MaskResult
    | HeadResult
    | RepeatResult
    | CalibrateResult
    | EvaluateResult
    | PredictResult,
    Field(discriminator="stage"),
]
"""The result of any stage, told apart by its `stage`."""
_RESULT: TypeAdapter[AnyResult] = TypeAdapter(AnyResult, config=ConfigDict(defer_build=True))


def trained_models(results: Iterable[AnyResult]) -> list[ModelSpec]:
    """The models that these stages made."""
    return [one.model for one in results if isinstance(one, TrainingResult | HeadResult)]


def result_to_json(stage_result: AnyResult) -> Json:
    return cast(Json, _RESULT.dump_python(stage_result, mode="json"))


def result_from_json(source: object) -> AnyResult:
    """Raises ValidationError of pydantic."""
    return _RESULT.validate_python(source)
