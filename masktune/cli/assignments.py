"""Parses options such as `--set optimizer.learning_rate=0.1` into JSON values."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masktune.cli.output import USAGE, fail

if TYPE_CHECKING:
    from masktune.client.calls import Changes


def parse_assignments(pairs: Iterable[str] | None, text_fields: Collection[str] = ()) -> dict[str, Any]:
    """`["a.b=1", "c=x"]` → `{"a": {"b": 1}, "c": "x"}`. The value of a text field, and one that is not valid
    JSON, is kept as text."""
    fields: dict[str, Any] = {}
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


Metadata = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=TEXT", help="A note of your own; may be repeated."),
]
NewName = Annotated[str | None, typer.Option("--name", help="The new name.", show_default=False)]
NewMetadata = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=TEXT", help="A note to add or change; KEY= removes it."),
]
ListedName = Annotated[
    str | None, typer.Option("--name", help="Only those with exactly this name.", show_default=False)
]
ListedMetadata = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=TEXT", help="Only those with this note; may be repeated."),
]


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


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
