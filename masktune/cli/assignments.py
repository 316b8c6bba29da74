"""Parses options such as `--set optimizer.learning_rate=0.1` into JSON values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from masktune.cli.output import USAGE, fail


def assigned(pairs: Iterable[str] | None, text_fields: Collection[str] = ()) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` → `{"a": {"b": 1}, "c": "x"}`. The value of a text field, and one that is not valid
    JSON, is kept as text."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not all(name.split(".")):
            fail(f"{pair!r} is not of the form KEY=VALUE", USAGE)
        *outer, last = name.split(".")
        at = found
        for part in outer:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                fail(f"{pair!r} sets a field of {part!r}, which already has a value", USAGE)
        at[last] = text if name in text_fields else _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
