"""Derives the fields of a request from declared parameters: their bounds and descriptions, all optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from inspect import getdoc
from typing import Annotated, Any, TypeVar, Union

from pydantic import Field, create_model

from masktune.contract.base import Strict, Word
from masktune.contract.hyperparameters.parameters import Parameter, Parameters, declared

Request = TypeVar("Request", bound=Strict)


def accepts(group: type[Parameters], *names: str, **docs: str) -> Callable[[type[Request]], type[Request]]:
    """Add the named parameters (default: all) to a request. What the request itself declares stays its own;
    `docs` are descriptions by name, where a parameter means something else in this request."""

    def extend(request: type[Request]) -> type[Request]:
        fields = _fields(group, names or tuple(declared(group)), docs)
        own = {name: field for name, field in fields.items() if name not in request.model_fields}
        return create_model(
            request.__name__, __base__=request, __doc__=request.__doc__, __module__=request.__module__, **own
        )

    return extend


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
