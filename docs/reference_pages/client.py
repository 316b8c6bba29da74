"""The Python client: its operations, its shapes and its errors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

import masktune as package
from docs.reference_pages.markdown import code, sections, table
from masktune import AsyncClient, Client
from masktune.client.client import readiness
from masktune.client.resource import Listing, Operation, Resource
from masktune.client.transfers import service_limits


def client() -> str:
    """Both clients, every operation, every shape, every error."""
    with Client() as made:
        resources = {name: one for name, one in vars(made).items() if isinstance(one, Resource)}
    told = [_both()]
    for name, resource in resources.items():
        told += [f"### client.{name}", _operations(type(resource))]
    exported = [getattr(package, name) for name in package.__all__]
    classes = [one for one in exported if inspect.isclass(one)]
    options = [one for one in classes if hasattr(one, "__required_keys__")]
    shapes = [one for one in classes if issubclass(one, BaseModel)]
    errors = [one for one in classes if issubclass(one, Exception)]
    return sections(
        [
            *told,
            "## Options",
            *(_options(one) for one in options),
            "## Shapes",
            *(_shape(one) for one in shapes),
            "## Errors",
            table(("error", ""), [(code(one.__name__), _doc(one)) for one in errors]),
        ]
    )


def _both() -> str:
    lines, both = [], {"ready": readiness, "limits": service_limits}
    for one in (Client, AsyncClient):
        lines += [f"## {one.__name__}", _python(one.__name__, inspect.signature(one)), _doc(one)]
    return sections(
        [*lines, "## Operations", *(f"### client.{name}\n\n{_doc(of)}" for name, of in both.items())]
    )


def _operations(resource: type[Any]) -> str:
    told = []
    for name, found in vars(resource).items():
        if isinstance(found, Operation | Listing):
            text = _python(name, inspect.signature(found.flow), listing=isinstance(found, Listing))
            told += [text, _doc(found.flow)]
    return sections(told)


def _python(name: str, signature: inspect.Signature, *, listing: bool = False) -> str:
    parameters = signature.replace(return_annotation=signature.empty)
    answer = str(signature.return_annotation)
    for flow in ("EmittingFlow[", "Flow["):
        if answer.startswith(flow):
            inner = answer.removeprefix(flow).removesuffix("]")
            answer = f" -> Iterator[{inner}]" if listing else f" -> {inner}"
            break
    else:
        answer = ""
    shown = str(parameters).replace("'", "")
    if len(shown) > 70:
        inside = ",\n    ".join(str(p).replace("'", "") for p in _starred(parameters))
        shown = f"(\n    {inside},\n)"
    return f"```text\n{name}{shown}{answer}\n```"


def _starred(signature: inspect.Signature) -> list[object]:
    """The parameters, with the `*` that `str` of each would leave out."""
    found: list[object] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        found.append(parameter)
    return found


def _options(shape: type[Any]) -> str:
    rows = [(code(name), code(_annotation(kind))) for name, kind in shape.__annotations__.items()]
    return sections([f"### {shape.__name__}", _doc(shape), table(("option", "type"), rows)])


def _shape(shape: type[BaseModel]) -> str:
    rows = [(code(name), code(_annotation(field.annotation))) for name, field in shape.model_fields.items()]
    return sections([f"### {shape.__name__}", _doc(shape), table(("field", "type"), rows)])


def _annotation(kind: object) -> str:
    text = kind.__forward_arg__ if hasattr(kind, "__forward_arg__") else inspect.formatannotation(kind)
    return re.sub(r"masktune\.contract\.\w+\.|typing\.|datetime\.(?=datetime)", "", str(text))


def _doc(thing: Callable[..., Any] | type[Any]) -> str:
    return inspect.getdoc(thing) or ""
