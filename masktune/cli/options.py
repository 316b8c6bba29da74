"""Options that several commands have."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

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
