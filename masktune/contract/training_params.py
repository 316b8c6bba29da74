"""Hyperparameters as the `params` of a job in an answer: shapes derived from their declaration."""

from __future__ import annotations

from collections.abc import Callable
from inspect import getdoc
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field, WithJsonSchema, create_model

from masktune.contract.base import Shape
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig
from masktune.contract.hyperparameters.parameters import Parameter, Parameters, declared
from masktune.contract.job_params import JobParams

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


@holds(Hyperparameters)
class TrainingParams(JobParams):
    """The hyperparameters of a training, of a mask set and of a finetune."""


@holds(MitigateConfig)
class MitigateParams(JobParams):
    """How a network is trained, and what is tried against a shortcut."""


@holds(RetrainConfig)
class RetrainHeadParams(JobParams):
    """How a head is retrained."""
