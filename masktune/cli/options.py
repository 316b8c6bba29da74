"""Options that several commands have, and what their texts say: `--set optimizer.learning_rate=0.1` as JSON
values."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from masktune.cli import completion
from masktune.cli.output import USAGE, fail
from masktune.contract.hyperparameters import hyperparameters_of
from masktune.contract.hyperparameters.parameters import dotted

if TYPE_CHECKING:
    from masktune.client.calls import Changes, Filters


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
Search = Annotated[
    str | None,
    typer.Option(
        help="Only those with this text in name, id, notes or data set, in upper or lower case.",
        show_default=False,
    ),
]
After = Annotated[
    datetime | None, typer.Option(metavar="DATE", help="Only those of this day or later: 2025-11-03.")
]
Before = Annotated[datetime | None, typer.Option(metavar="DATE", help="Only those before this day.")]
Most = Annotated[int, typer.Option(min=1, help="List at most this many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Delete it without a question.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="A field of the job: --set optimizer.learning_rate=0.1. Tab completes the names.",
        autocompletion=completion.fields,
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Id (mdl_…), alias or unique name of the model.",
        show_default=False,
        autocompletion=completion.models,
    ),
]
_POLICY = "When to abstain (at most one)"
Coverage = Annotated[
    float | None, typer.Option(help="Answer this share of inputs, in (0, 1].", rich_help_panel=_POLICY)
]
MaxRisk = Annotated[
    float | None,
    typer.Option(help="Certify that at most this share of answers is wrong.", rich_help_panel=_POLICY),
]
MaxClassRisk = Annotated[
    float | None,
    typer.Option(
        help="Certify it for the answers of each class; with --max-missed one policy.",
        rich_help_panel=_POLICY,
    ),
]
MaxMissed = Annotated[
    float | None,
    typer.Option(
        help="Certify that at most this share of each class is answered as another.", rich_help_panel=_POLICY
    ),
]
RiskConfidence = Annotated[
    float | None, typer.Option(help="Confidence of what is certified [0.99].", rich_help_panel=_POLICY)
]
MinScore = Annotated[
    float | None, typer.Option(help="Answer inputs with at least this score.", rich_help_panel=_POLICY)
]
OnUncertified = Annotated[
    Literal["abstain", "error"] | None,
    typer.Option(
        help="If a promise cannot be certified: abstain (the default) or fail.", rich_help_panel=_POLICY
    ),
]
Score = Annotated[
    str | None,
    typer.Option(
        help=f"Confidence score: {', '.join(completion.SCORES)}. Default: the calibration's.",
        autocompletion=completion.words(*completion.SCORES),
    ),
]


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
