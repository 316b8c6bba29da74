"""Parses options such as `--set optimizer.learning_rate=0.1` into JSON values."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from masktune.cli.output import USAGE, fail
from masktune.contract.hyperparameters import hyperparameters_of
from masktune.contract.hyperparameters.parameters import dotted

if TYPE_CHECKING:
    from datetime import datetime

    from masktune.client.calls import Changes, Filters


def parse_assignments(
    pairs: Iterable[str] | None, text_fields: Collection[str] = (), base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` → `{"a": {"b": 1}, "c": "x"}`, over the fields of `base`. The value of a text field,
    and one that is not valid JSON, is kept as text."""
    fields: dict[str, Any] = copy.deepcopy(dict(base or {}))
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not all(name.split(".")):
            fail(f"{pair!r} is not of the form KEY=VALUE", USAGE)
        *outer, last = name.split(".")
        group = fields
        for part in outer:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                fail(f"{pair!r} sets a field of {part!r}, which already has a value", USAGE)
        group[last] = text if name in text_fields else _json_or_text(text)
    return fields


def parse_fields(
    kind: str, pairs: Iterable[str] | None, base: Mapping[str, Any] | None = None, **named: Any
) -> dict[str, Any]:
    """The fields of a job of this kind: of `base`, over them `--set` options, and those `named` by options
    of their own."""
    text_fields = [name for name, parameter in dotted(hyperparameters_of(kind)) if parameter.type is str]
    own = {name: field for name, field in named.items() if field is not None}
    return parse_assignments(pairs, text_fields, base) | own


def metadata_of(pairs: Iterable[str] | None) -> dict[str, str]:
    """`["site=Bern"]` → `{"site": "Bern"}`."""
    metadata = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            fail(f"{pair!r} is not of the form KEY=TEXT", USAGE)
        metadata[key] = text
    return metadata


def changes_of(name: str | None, pairs: Iterable[str] | None) -> Changes:
    """What an `edit` command changes."""
    changes: Changes = {} if name is None else {"name": name}
    if pairs:
        changes["metadata"] = {key: text or None for key, text in metadata_of(pairs).items()}
    if not changes:
        fail("give --name or --meta", USAGE)
    return changes


def filters_of(
    name: str | None,
    pairs: Iterable[str] | None,
    search: str | None,
    after: datetime | None,
    before: datetime | None,
) -> Filters:
    """What a `list` command of data sets, jobs or models lists."""
    return {
        "name": name,
        "metadata": metadata_of(pairs),
        "q": search,
        "created_after": after,
        "created_before": before,
    }


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
