"""`masktune datasets …`"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masktune.cli import completion
from masktune.cli.assignments import (
    ListedMetadata,
    ListedName,
    Metadata,
    NewMetadata,
    NewName,
    changes_of,
    metadata_of,
    parse_assignments,
)
from masktune.cli.output import USAGE, age, fail, new_table, table_of
from masktune.cli.progress import follow, transfer_bar, watch_hint
from masktune.cli.session import Session, with_session

if TYPE_CHECKING:
    from rich.table import Table

    from masktune import ColumnReading, Dataset, FullReport, MetadataColumn, Sample

app = typer.Typer(no_args_is_help=True, help="Upload labelled images and inspect the data sets they make.")

REJECTED_SHOWN = 20
"""Most rejected files listed in a table."""
TEXTS_SHOWN = 5
"""Most texts of a column of metadata in a table."""

Id = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Id of the data set (ds_…).",
        show_default=False,
        autocompletion=completion.datasets,
    ),
]


SubjectPattern = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Which part of a path names the subject (patient, animal, burst …): '*/{subject}_*'.",
        show_default=False,
    ),
]
HoldOut = Annotated[
    list[str] | None,
    typer.Option(
        metavar="meta:NAME=VALUE",
        help="Make the test split of the samples with this metadata; may be repeated.",
        show_default=False,
    ),
]
NewSplits = Annotated[
    bool,
    typer.Option("--new-splits", help="Ignore the splits of the files; cut new ones that divide no subject."),
]
GroupColumn = Annotated[
    str | None,
    typer.Option(
        metavar="meta:NAME",
        help="What defines the groups: a column, or an attribute of CelebA.",
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column of a list that holds the classes.", show_default=False),
]
GreyWindow = Annotated[
    tuple[int, int] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="Grey levels of 12- and 16-bit images that become 0 and 255. Default: measured.",
        show_default=False,
    ),
]


def format_options(
    subject_pattern: str | None,
    hold_out: list[str] | None,
    group: str | None,
    label: str | None,
    grey_window: tuple[int, int] | None,
    new_splits: bool,
) -> dict[str, Any]:
    """The `options` of an upload that were named."""
    options = {
        "subject": subject_pattern,
        "hold_out": hold_out,
        "group": group,
        "label": label,
        "grey_window": grey_window,
        "new_splits": new_splits,
    }
    return {name: option for name, option in options.items() if option}


@app.command()
@with_session
def add(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="PATH|SOURCE",
            help="An archive, a folder, builtin:NAME, dataset:ID (to read a data set again with other "
            "options), or an address that the service may read.",
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
        | format_options(subject_pattern, hold_out, group, label, grey_window, new_splits),
        seed=seed,
        metadata=metadata_of(metadata),
    )
    if wait:
        dataset = wait_for_import(session, dataset)
    session.show(dataset, lambda: table(dataset))


app.command("upload", help="The same as `add`.")(add)


@app.command("list")
@with_session
def list_(
    session: Session,
    name: ListedName = None,
    metadata: ListedMetadata = None,
    most: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List data sets, newest first."""
    session.show_all(
        session.client.datasets.list(name=name, metadata=metadata_of(metadata), limit=min(most, 100)),
        ("id", "name", "state", "classes", "samples", "created"),
        lambda d: (
            d.id,
            d.name,
            d.state,
            str(len(d.classes)),
            str(sum(d.splits.values())),
            age(d.created_at),
        ),
        most=most,
    )


@app.command()
@with_session
def show(session: Session, dataset_id: Id) -> None:
    """Show one data set: splits, groups, and what its import rejected."""
    dataset = session.client.datasets.get(dataset_id)
    session.show(dataset, lambda: table(dataset))


@app.command()
@with_session
def edit(session: Session, dataset_id: Id, name: NewName = None, metadata: NewMetadata = None) -> None:
    """Change the name and the metadata of a data set."""
    dataset = session.client.datasets.update(dataset_id, **changes_of(name, metadata))
    session.show(dataset, lambda: table(dataset))


@app.command()
@with_session
def report(session: Session, dataset_id: Id) -> None:
    """List every file that the import rejected or ignored, and every duplicate image."""
    import_report = session.client.datasets.report(dataset_id)
    session.show(import_report, lambda: files(import_report))


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
    most: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List the samples of a data set."""
    matches = session.client.datasets.samples(
        dataset_id,
        split=split,
        label=label,
        group=group,
        subject=subject,
        metadata=metadata_of(metadata),
        q=search,
        limit=min(most, 100),
    )
    page = list(islice(matches, most))
    columns: dict[str, Callable[[Sample], str]] = {
        "sample": lambda sample: str(sample.id),
        "split": lambda sample: sample.split,
        "label": lambda sample: sample.label,
        "group": lambda sample: sample.group or "–",
        "file": lambda sample: sample.path or "–",
    }
    if any(sample.subject for sample in page):
        columns["subject"] = lambda sample: sample.subject or "–"
    if any(sample.metadata for sample in page):
        columns["metadata"] = lambda sample: _cells(sample.metadata) or "–"
    session.show_all(page, tuple(columns), lambda sample: tuple(cell(sample) for cell in columns.values()))


@app.command()
@with_session
def download(
    session: Session,
    dataset_id: Id,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="File to write.")
    ] = None,
) -> None:
    """Write a data set to a zip: its images, `labels.csv` and `classes.txt`. It can be uploaded again."""
    target = output or Path(f"{dataset_id}.zip")
    with transfer_bar(session.console, f"downloading {target.name}") as on_received:
        session.client.datasets.download(dataset_id, target, on_received=on_received)
    session.show({"path": str(target)}, lambda: f"the data set is in {target}")


@app.command()
@with_session
def delete(session: Session, dataset_id: Id) -> None:
    """Delete a data set and its images. Refused while a job uses it."""
    session.client.datasets.delete(dataset_id)
    session.say(f"data set {dataset_id} is deleted")


def table(dataset: Dataset) -> Table:
    """One data set in full."""
    grid = table_of(dataset, "data set")
    for note in dataset.report.notes if dataset.report else ():
        if note.tone == "bad":
            grid.add_row(note.code, note.detail, style="bold red")
    grid.add_row("state", dataset.state)
    grid.add_row("format", dataset.format or "–")
    grid.add_row("classes", ", ".join(dataset.classes) or "–")
    grid.add_row("splits", _counts(dataset.splits))
    for group in dataset.groups:
        grid.add_row("group", f"{group.name}: " + _counts(group.splits))
    if dataset.subjects:
        grid.add_row("subjects", str(dataset.subjects))
    for column in dataset.metadata_columns:
        grid.add_row(f"meta:{column.name}", _content(column))
    if report := dataset.report:
        if readings := [_reading(reading) for reading in report.columns if reading.read_as != "ignored"]:
            grid.add_row("columns", ", ".join(readings))
        for reason, columns in _ignored(report.columns).items():
            grid.add_row("ignored", f"{', '.join(columns)}: {reason}")
        for fact in (*report.problems, *(note for note in report.notes if note.tone != "bad")):
            grid.add_row(fact.code, fact.detail)
        if report.shortcuts is not None:
            grid.add_row("shortcuts", f"{report.shortcuts['strength']}: {report.shortcuts['sentence']}")
            if metadata := report.shortcuts.get("metadata"):
                grid.add_row("metadata", f"{metadata['strength']}: {metadata['sentence']}")
                for note in metadata["notes"]:
                    grid.add_row("", note)
        named = report.rejected[:REJECTED_SHOWN]
        for rejected in named:
            grid.add_row("rejected", f"{rejected.path}: {rejected.detail}")
        if report.rejected_total > len(named):
            more = report.rejected_total - len(named)
            grid.add_row("", f"and {more} more: masktune datasets report {dataset.id}")
    return grid


def files(report: FullReport) -> Table:
    """One row per file, and one per set of files with the same image."""
    counts = f"rejected {len(report.rejected)}, ignored {len(report.ignored)}"
    title = f"data set {report.name}: {report.count} samples; {counts}, duplicates {len(report.duplicates)}"
    listing = new_table("what", "code", "file", "why", title=title)
    for what, entries in (("rejected", report.rejected), ("ignored", report.ignored)):
        for file in entries:
            listing.add_row(what, file.code, file.path, file.detail)
    for same in report.duplicates:
        why = "the same file" if same.same_bytes else "the same picture"
        listing.add_row("duplicates", ", ".join(same.codes), ", ".join(same.paths), why)
    return listing


def start_import(
    session: Session,
    what: str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> Dataset:
    """Upload the archive or the folder, or start the import from a source."""
    datasets = session.client.datasets
    if _is_source(what):
        dataset = datasets.from_source(
            what, name=name, format=format, options=options, seed=seed, metadata=metadata
        )
    else:
        path = Path(what)
        if not path.exists():
            fail(f"{what} does not exist", USAGE)
        with transfer_bar(session.console, f"uploading {path.name}") as on_sent:
            dataset = datasets.upload(
                path,
                name=name,
                format=format,
                options=options,
                seed=seed,
                metadata=metadata,
                on_sent=on_sent,
            )
    session.say(f"data set {dataset.id} is being imported")
    return dataset


def wait_for_import(session: Session, dataset: Dataset) -> Dataset:
    """Wait until the import has ended; shows progress unless the output is JSON. Raises `DatasetInvalid`."""
    with watch_hint(dataset.job) if dataset.job else nullcontext():
        if dataset.job and not session.json:
            follow(session.console, session.client.jobs.watch(dataset.job))
        return session.client.datasets.wait(dataset.id)


def _counts(splits: dict[str, int]) -> str:
    counts = completion.in_order(splits, completion.SPLITS)
    return ", ".join(f"{split} {n}" for split, n in counts) or "–"


def _reading(reading: ColumnReading) -> str:
    """A column, and what it was read as if its name does not say so."""
    if reading.column == reading.read_as or reading.column.startswith("meta:"):
        return reading.column
    return f"{reading.column} as {reading.read_as}"


def _ignored(readings: Sequence[ColumnReading]) -> dict[str, list[str]]:
    """The columns that were not read, by the reason."""
    ignored: dict[str, list[str]] = {}
    for reading in readings:
        if reading.read_as == "ignored":
            ignored.setdefault(reading.detail, []).append(reading.column)
    return ignored


def _content(column: MetadataColumn) -> str:
    """What a column of metadata holds, in a line."""
    if column.low is not None and column.high is not None:
        parts = [f"{column.low:g} to {column.high:g}"]
    else:
        parts = [f"{text.text} {text.n}" for text in column.most_frequent[:TEXTS_SHOWN]]
        parts += ["…"] if column.distinct > len(parts) else []
    if column.missing:
        parts.append(f"none {column.missing}")
    return ", ".join(parts)


def _cells(metadata: dict[str, float | str | None]) -> str:
    """The cells of a sample that are not empty, in a line."""
    cells = {name: cell for name, cell in metadata.items() if cell is not None}
    return ", ".join(
        f"{name}={cell:g}" if isinstance(cell, float) else f"{name}={cell}" for name, cell in cells.items()
    )


def _is_source(what: str) -> bool:
    return what.startswith(("builtin:", "dataset:")) or "://" in what
