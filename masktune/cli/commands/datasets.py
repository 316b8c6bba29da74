"""`masktune datasets …`"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

import masktune
from masktune.cli import completion, options
from masktune.cli.importing import (
    GreyWindow,
    GroupColumn,
    HoldOut,
    LabelColumn,
    NewSplits,
    PathColumn,
    SubjectPattern,
    format_options,
    start_import,
    wait_for_import,
)
from masktune.cli.options import (
    ListedMetadata,
    ListedName,
    Metadata,
    Most,
    NewMetadata,
    NewName,
    Output,
    Yes,
    changes_of,
    filters_of,
    metadata_of,
    parse_assignments,
)
from masktune.cli.output import age
from masktune.cli.progress import transfer_bar
from masktune.cli.session import Session, with_session
from masktune.cli.tables.datasets import files, sample_columns, table
from masktune.contract.report.text.formats import byte_size

app = typer.Typer(no_args_is_help=True, help="Upload images and inspect the data sets they make.")


Id = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Id (ds_…) or unique name of the data set.",
        show_default=False,
        autocompletion=completion.datasets,
    ),
]
InferredBy = Annotated[
    str | None,
    typer.Option(
        metavar="JOB",
        help="Also show what this job guessed: whose pattern an image shows, and whether its label looks "
        "wrong. Needed for the filters below.",
    ),
]
Pattern = Annotated[
    str | None, typer.Option(metavar="CLASS", help="Only samples that show the pattern of this class.")
]
LacksPattern = Annotated[
    bool | None,
    typer.Option(help="Only samples that lack the pattern of their class, or only those that show it."),
]
LabelLooksWrong = Annotated[
    bool | None, typer.Option(help="Only samples whose label looks wrong, or only the others.")
]
SampleTable = Annotated[
    Path | None,
    typer.Option("--output", "-o", dir_okay=False, help="Write all of them to this CSV file instead."),
]


@app.command()
@with_session
def add(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="PATH|SOURCE",
            help="An archive, a folder, builtin:NAME, dataset:ID (to read a data set again with other "
            "options), or an address that the service may read. Of images without labels (--format "
            "unlabelled) also a table of paths.",
            show_default=False,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name. Default: the name of the file.")] = None,
    format: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(completion.FORMATS[1:])}, or auto.",
            autocompletion=completion.words(*completion.FORMATS),
        ),
    ] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the source or the format, e.g. download=true; may be repeated.",
        ),
    ] = None,
    subject_pattern: SubjectPattern = None,
    hold_out: HoldOut = None,
    group: GroupColumn = None,
    label: LabelColumn = None,
    path: PathColumn = None,
    grey_window: GreyWindow = None,
    new_splits: NewSplits = False,
    metadata: Metadata = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits that the import makes.")] = 0,
    wait: Annotated[bool, typer.Option(help="Wait until the import has ended.")] = True,
) -> None:
    """Upload a data set (zip, tar, tar.gz, tar.zst, or a folder), or import one from a source."""
    dataset = start_import(
        session,
        what,
        name=name,
        format=format,
        options=parse_assignments(option)
        | format_options(subject_pattern, hold_out, group, label, path, grey_window, new_splits),
        seed=seed,
        metadata=metadata_of(metadata),
    )
    if wait:
        dataset = wait_for_import(session, dataset)
    session.show(dataset, table)


app.command("upload", help="The same as `add`.")(add)


@app.command("list")
@with_session
def list_(
    session: Session,
    name: ListedName = None,
    metadata: ListedMetadata = None,
    search: options.Search = None,
    after: options.After = None,
    before: options.Before = None,
    labelled: Annotated[
        bool | None, typer.Option("--labelled/--unlabelled", help="Only those with labels, or without.")
    ] = None,
    most: Most = 20,
) -> None:
    """List data sets, newest first."""
    session.show_all(
        session.client.datasets.list(
            labelled=labelled,
            limit=min(most, 100),
            **filters_of(name, metadata, search, after, before),
        ),
        ("id", "name", "state", "classes", "samples", "size", "created"),
        lambda d: (
            d.id,
            d.name,
            d.state,
            str(len(d.classes)),
            str(d.report.count if d.report else 0),
            byte_size(d.occupies),
            age(d.created_at),
        ),
        most=most,
    )


@app.command()
@with_session
def show(session: Session, dataset_id: Id) -> None:
    """Show one data set: splits, groups, and what its import rejected."""
    session.show(session.client.datasets.get(dataset_id), table)


@app.command()
@with_session
def edit(session: Session, dataset_id: Id, name: NewName = None, metadata: NewMetadata = None) -> None:
    """Change the name and the metadata of a data set."""
    session.show(session.client.datasets.update(dataset_id, **changes_of(name, metadata)), table)


@app.command()
@with_session
def report(session: Session, dataset_id: Id) -> None:
    """List every file that the import rejected or ignored, and every duplicate image."""
    session.show(session.client.datasets.report(dataset_id), files)


@app.command()
@with_session
def samples(
    session: Session,
    dataset_id: Id,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val, calibration or test.", autocompletion=completion.words(*completion.SPLITS)
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Only samples of this class.")] = None,
    group: Annotated[str | None, typer.Option(help="Only samples of this group.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only samples of this subject.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            "--meta",
            metavar="NAME=VALUE",
            help="Only samples with this text or number in the column; may be repeated.",
        ),
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="Only samples with this text in path, subject or metadata.")
    ] = None,
    inferred_by: InferredBy = None,
    pattern: Pattern = None,
    lacks_pattern: LacksPattern = None,
    label_looks_wrong: LabelLooksWrong = None,
    output: SampleTable = None,
    most: Most = 20,
) -> None:
    """List the samples of a data set."""
    filters: masktune.SampleFilters = {
        "split": split,
        "label": label,
        "group": group,
        "subject": subject,
        "metadata": metadata_of(metadata),
        "q": search,
        "inferred_by": inferred_by,
        "pattern": pattern,
        "lacks_pattern": lacks_pattern,
        "label_looks_wrong": label_looks_wrong,
    }
    if output is not None:
        session.client.datasets.download_samples(dataset_id, output, **filters)
        session.show({"path": str(output)}, lambda _: f"the samples are listed in {output}")
        return
    matches = session.client.datasets.samples(dataset_id, limit=min(most, 100), **filters)
    page = list(islice(matches, most))
    columns = sample_columns(page)
    session.show_all(page, tuple(columns), lambda sample: tuple(cell(sample) for cell in columns.values()))


@app.command()
@with_session
def download(
    session: Session,
    dataset_id: Id,
    output: Output = None,
) -> None:
    """Write a data set to a zip: its images, `labels.csv` and `classes.txt`. It can be uploaded again."""
    target = output or Path(f"{dataset_id}.zip")
    with transfer_bar(session.console, f"downloading {target.name}") as on_received:
        session.client.datasets.download(dataset_id, target, on_received=on_received)
    session.show({"path": str(target)}, lambda _: f"the data set is in {target}")


@app.command()
@with_session
def delete(session: Session, dataset_id: Id, yes: Yes = False) -> None:
    """Delete a data set and its images. Refused while a job uses it."""
    session.ask_and_delete("data set", dataset_id, session.client.datasets.delete, yes=yes)
