"""Options that several commands have."""

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
Most = Annotated[int, typer.Option(min=1, help="List at most this many.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="A field of the job: --set optimizer.learning_rate=0.1. Tab completes the names.",
        autocompletion=completion.fields,
    ),
]
