"""Options that several commands have."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from masktune.cli import completion

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
