"""What each kind of job was told to do, resolved in full: the `params` of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from masktune.contract.base import Shape
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig, ScoreName
from masktune.contract.hyperparameters.parameters import Parameters
from masktune.contract.vocabulary import JobKind


class JobParams(Shape):
    """The parameters of a job, resolved in full; each kind has its own."""


class ImportParams(JobParams):
    """How a data set is imported."""

    format: str = "auto"
    options: dict[str, Any] = {}
    seed: int = Field(0, description="Seed of the splits that the import makes.")


# Built at the first use, here and below: the child of an import uses neither, and starts 8 ms sooner.
class EvaluateParams(JobParams, defer_build=True):
    """What a model, or each model of a job, is measured on."""

    splits: list[str] = []
    job: str | None = Field(None, description="Id of the job whose models are judged.")
    breaks_pattern: bool = Field(
        False, description="Whether the images lack the pattern, as whoever brought them says."
    )


EVERY_SPLIT = "all"
"""The `split` of a predict job that is about every image, and about the files that the import left out."""
RowOrder = Literal["stored", "least_sure"]


class PredictParams(JobParams, defer_build=True):
    """Which samples are predicted, and when the model abstains."""

    split: str = "test"
    output: Literal["parquet", "csv"] = "parquet"
    order: RowOrder = "stored"
    top_k: int = 5
    coverage: float | None = None
    max_risk: float | None = None
    max_class_risk: float | None = None
    max_missed: float | None = None
    risk_confidence: float | None = None
    min_score: float | None = None
    on_uncertified: Literal["abstain", "error"] = "abstain"
    set_coverage: float | None = None
    score: ScoreName | None = None
    explain: bool = False
    method: str = ""


AnyParams = ImportParams | Hyperparameters | RetrainConfig | EvaluateParams | PredictParams
"""Those of a job as it runs; a mitigation's `MitigateConfig` is a kind of `Hyperparameters`."""


def params_of(kind: JobKind, source: Mapping[str, Any]) -> AnyParams:
    """Read the stored `params` of a job of this kind. Raises ConfigError, or ValidationError of pydantic."""
    match kind:
        case JobKind.IMPORT:
            return ImportParams.model_validate(source)
        case JobKind.EVALUATE:
            return EvaluateParams.model_validate(source)
        case JobKind.PREDICT:
            return PredictParams.model_validate(source)
        case JobKind.RETRAIN_HEAD:
            return RetrainConfig.from_json(source)
        case JobKind.MITIGATE:
            return MitigateConfig.from_json(source)
        case _:
            return Hyperparameters.from_json(source)


def params_to_json(params: AnyParams) -> dict[str, Any]:
    """The inverse of `params_of`."""
    return params.to_json() if isinstance(params, Parameters) else params.model_dump(mode="json")
