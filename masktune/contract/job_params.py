"""What each kind of job was told to do, resolved in full: the `params` of a job."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, WithJsonSchema, create_model

from masktune.contract.base import Shape
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig, ScoreName
from masktune.contract.hyperparameters.parameters import Parameter, Parameters, declared


class JobParams(Shape):
    """The parameters of a job, resolved in full; each kind has its own."""


Params = TypeVar("Params", bound=Shape)


def holds(group: type[Parameters]) -> Callable[[type[Params]], type[Params]]:
    """Add the declared parameters of a group. A job that is older than a parameter has its default."""

    def extend(params: type[Params]) -> type[Params]:
        fields: Any = {name: _field(parameter) for name, parameter in declared(group).items()}
        return create_model(
            params.__name__, __base__=params, __doc__=params.__doc__, __module__=params.__module__, **fields
        )

    return extend


def _as_enum(option: Any) -> Any:
    """A word beside a number as `enum`, where pydantic writes `const`, for which generated clients take any
    number."""
    if get_origin(option) is not Literal:
        return option
    return Annotated[option, WithJsonSchema({"enum": list(get_args(option)), "type": "string"})]


def _field(parameter: Parameter) -> tuple[Any, Any]:
    kind, default = parameter.type, parameter.default
    if parameter.nested is not None:
        name, doc = parameter.nested.__name__, getdoc(parameter.nested)
        kind = holds(parameter.nested)(create_model(name, __base__=Shape, __doc__=doc, __module__=__name__))
        default = kind()
    elif parameter.element is not None:
        kind, default = list[parameter.element], list(default)  # type: ignore[name-defined]  # known at run time
    elif len(options := get_args(kind)) > 1 and get_origin(kind) is not Literal:
        kind = Union[tuple(map(_as_enum, options))]  # noqa: UP007
    return (kind | None if parameter.nullable else kind), Field(default, description=parameter.doc or None)


class ImportParams(JobParams):
    """How a data set is imported."""

    format: str = "auto"
    options: dict[str, Any] = {}
    seed: int = Field(0, description="Seed of the splits that the import makes.")


@holds(Hyperparameters)
class TrainingParams(JobParams):
    """The hyperparameters of a training, of a mask set and of a finetune."""


@holds(MitigateConfig)
class MitigateParams(JobParams):
    """How a network is trained, and what is tried against a shortcut."""


@holds(RetrainConfig)
class RetrainHeadParams(JobParams):
    """How a head is retrained."""


class EvaluateParams(JobParams):
    """What a model, or each model of a job, is measured on."""

    splits: list[str] = []
    job: str | None = Field(None, description="Id of the job whose models are judged.")
    breaks_pattern: bool = Field(
        False, description="Whether the images lack the pattern, as whoever brought them says."
    )


class PredictParams(JobParams):
    """Which samples are predicted, and when the model abstains."""

    split: str = "test"
    output: Literal["parquet", "csv"] = "parquet"
    coverage: float | None = None
    max_risk: float | None = None
    risk_confidence: float | None = None
    min_score: float | None = None
    on_uncertified: Literal["abstain", "error"] = "abstain"
    score: ScoreName | None = None
    explain: bool = False
    method: str = ""
