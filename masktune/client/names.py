"""Names in place of ids: what an operation takes for a data set, a job or a model may be its unique name.

Ids and aliases win over names: a text that begins like an id is one, and a text that may be an alias is taken
for a name only after the service has answered that there is no such alias.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar, cast

from masktune.client.calls import call, fetch, get
from masktune.client.errors import AmbiguousName, ProblemError
from masktune.client.wire import EmittingFlow, Flow
from masktune.contract.base import Page, Resource, Time
from masktune.contract.models import ALIAS_PATTERN
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

F = TypeVar("F", bound=Callable[..., Generator[Any, Any, Any]])

_DATASET, _JOB, _MODEL = ("data set", "/datasets", "ds"), ("job", "/jobs", "job"), ("model", "/models", "mdl")
_REFERENCES: Mapping[str, tuple[str, str, str]] = {
    **dict.fromkeys(("dataset", "dataset_id", "source"), _DATASET),
    **dict.fromkeys(("job", "job_id", "mask_set", "inferred_by"), _JOB),
    **dict.fromkeys(("model", "pretrained"), _MODEL),
}
"""The arguments of operations, and the fields of jobs, that refer to something: what it is called, where such
are listed, and how their ids begin."""
_BEFORE = {"source": "dataset:"}  # what precedes the reference in this argument


class _Listed(Resource):
    created_at: Time


def by_name(flow: F) -> F:
    """The same flow, whose arguments may be names. An id or an alias costs no further request.

    Raises `AmbiguousName` for a name that several have, a `ProblemError` (404) for one that none has.
    """
    parameters = inspect.signature(flow).parameters

    @functools.wraps(flow)
    def flow_with_ids(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        plain_flow = flow(*args, **kwargs)
        arguments = dict(zip(parameters, args, strict=False)) | kwargs
        names = {argument: name for argument in _REFERENCES if (name := _name(arguments, argument))}
        return _with_ids(flow, arguments, names) if names else plain_flow

    return cast(F, flow_with_ids)


def _name(arguments: Mapping[str, Any], argument: str) -> str:
    """The name, or alias, that this argument holds in place of an id; "" if it does not."""
    content, before = arguments.get(argument), _BEFORE.get(argument, "")
    if not isinstance(content, str) or not content.startswith(before):
        return ""
    text = content.removeprefix(before)
    return "" if re.fullmatch(f"{_REFERENCES[argument][2]}_[0-9a-z]+", text) else text


def _with_ids(
    flow: Callable[..., EmittingFlow[Any]], arguments: dict[str, Any], names: Mapping[str, str]
) -> EmittingFlow[Any]:
    """Run the flow with ids in place of these names, by argument."""
    alias = None
    for argument, name in names.items():
        if _REFERENCES[argument] is _MODEL and re.fullmatch(ALIAS_PATTERN, name):
            alias = argument
        else:
            arguments[argument] = yield from _id_of(argument, name)
    try:
        return (yield from flow(**arguments))
    except ProblemError as error:
        if error.code != ErrorCode.NOT_FOUND or alias is None or not (yield from _is_unknown(names[alias])):
            raise
    arguments[alias] = yield from _id_of(alias, names[alias])
    return (yield from flow(**arguments))


def _is_unknown(alias: str) -> Flow[bool]:
    """Whether the service answers that there is no such alias."""
    try:
        yield from fetch(get(f"/aliases/{alias}"))
    except ProblemError as error:
        return error.code == ErrorCode.NOT_FOUND
    return False


def _id_of(argument: str, name: str) -> Flow[str]:
    """What the argument is with an id in place of the name."""
    noun, path, _ = _REFERENCES[argument]
    candidates = (yield from call(get(path, name=name, limit=100), Page[_Listed])).data
    if not candidates:
        forms = "id, alias or name" if noun == "model" else "id or name"
        detail = f"no {noun} has the {forms} {name!r}; see the list of {noun}s"
        raise ProblemError(PROBLEM_KINDS[ErrorCode.NOT_FOUND].model_dump() | {"detail": detail}, status=404)
    if len(candidates) > 1:
        each = ", ".join(f"{one.id} ({one.created_at.astimezone():%Y-%m-%d %H:%M})" for one in candidates)
        raise AmbiguousName(f"several {noun}s have the name {name!r}: {each}; give the id of one")
    return _BEFORE.get(argument, "") + candidates[0].id
