"""Derives the fields of requests and answers from declared parameters: their bounds and descriptions.

`pydantic.TypeAdapter` over the same dataclasses would not do: it writes none of their 30 bounds and none of
their descriptions into the schema, reports what the dataclass itself refuses without the field's place,
ignores an unknown field, and refuses null, by which a request leaves a parameter at its default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from inspect import getdoc
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, WithJsonSchema, create_model

from masktune.contract.base import Shape, Strict, Word
from masktune.contract.hyperparameters.parameters import Parameter, Parameters, declared

Model = TypeVar("Model", bound=BaseModel)


def accepts(group: type[Parameters], *names: str, **docs: str) -> Callable[[type[Model]], type[Model]]:
    """Add the named parameters (default: all) to a request. What the request itself declares stays its own;
    `docs` are descriptions by name, where a parameter means something else in this request."""

    def extend(request: type[Model]) -> type[Model]:
        fields = _fields(group, names or tuple(declared(group)), docs)
        return _extended(
            request, {name: field for name, field in fields.items() if name not in request.model_fields}
        )

    return extend


def holds(group: type[Parameters]) -> Callable[[type[Model]], type[Model]]:
    """Add the declared parameters of a group to the `params` of a job in an answer. A job that is older than
    a parameter has its default."""
    fields = {name: _field_of_answer(parameter) for name, parameter in declared(group).items()}
    return lambda params: _extended(params, fields)


def _extended(model: type[Model], fields: Mapping[str, Any]) -> type[Model]:
    """The model with these fields too, under its own name."""
    return create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
    )


@cache
def _optional_group(group: type[Parameters]) -> type[Strict]:
    """The request's form of a group: `OptimizerConfig` → `OptimizerFields`, always the same class."""
    name = group.__name__.removesuffix("Config") + "Fields"
    fields = _fields(group, tuple(declared(group)), {})
    return create_model(name, __base__=Strict, __doc__=getdoc(group), __module__=__name__, **fields)


def explicit(group: type[Parameters], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that set something: null sets only a parameter that can be null."""
    known = declared(group)
    settings = {}
    for name, setting in fields.items():
        nested = known[name].nested
        if nested is not None and setting is not None:
            settings[name] = explicit(nested, setting)
        elif setting is not None or known[name].nullable:
            settings[name] = setting
    return settings


def _fields(group: type[Parameters], names: tuple[str, ...], docs: Mapping[str, str]) -> Any:
    known = declared(group)
    return {name: _field(known[name], docs.get(name, known[name].doc)) for name in names}


def _field(parameter: Parameter, doc: str) -> tuple[Any, Any]:
    kind: Any = parameter.type
    ends = {name: end for name, end in asdict(parameter.bounds).items() if end is not None}
    if parameter.nested is not None:
        kind = _optional_group(parameter.nested)
    elif parameter.element is not None:
        lengths = {name: end for name, end in ends.items() if name.endswith("_length")}
        within = Field(**{name: end for name, end in ends.items() if name not in lengths})
        element: Any = Annotated[parameter.element, within]
        kind, ends = list[element], lengths
    elif len(parameter.options) > 1 and ends:  # the bounds are those of the number
        number: Any = Annotated[float, Field(**ends)]
        options = tuple(number if option is float else option for option in parameter.options)
        kind, ends = Union[options], {}  # noqa: UP007 # of a tuple
    elif kind is str:
        kind = Word
    examples = [parameter.default] if parameter.type is str and parameter.default else None
    field = Field(None, description=doc or None, examples=examples, **ends)
    return kind | None, field


def _as_enum(option: Any) -> Any:
    """A word beside a number as `enum`, where pydantic writes `const`, for which generated clients take any
    number."""
    if get_origin(option) is not Literal:
        return option
    return Annotated[option, WithJsonSchema({"enum": list(get_args(option)), "type": "string"})]


def _field_of_answer(parameter: Parameter) -> tuple[Any, Any]:
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
