"""Images for a command: how they are read, their upload, and the wait for their import."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

import masktune
from masktune.cli.output import USAGE, fail
from masktune.cli.progress import follow, transfer_bar, watch_hint
from masktune.cli.session import Session
from masktune.cli.tables.datasets import table

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
PathColumn = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column of a list that names the files.", show_default=False),
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
    path: str | None,
    grey_window: tuple[int, int] | None,
    new_splits: bool,
) -> dict[str, Any]:
    """The `options` of an upload that were named."""
    options = {
        "subject": subject_pattern,
        "hold_out": hold_out,
        "group": group,
        "label": label,
        "path": path,
        "grey_window": grey_window,
        "new_splits": new_splits,
    }
    return {name: option for name, option in options.items() if option}


def start_import(
    session: Session,
    what: str,
    *,
    name: str | None = None,
    format: str = "auto",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    metadata: Mapping[str, str] | None = None,
) -> masktune.Dataset:
    """Upload the archive or the folder, or start the import from a source."""
    datasets = session.client.datasets
    if what.startswith(("builtin:", "dataset:")) or "://" in what:
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


def wait_for_import(session: Session, dataset: masktune.Dataset) -> masktune.Dataset:
    """Wait until the import has ended; shows progress unless the output is JSON. Raises `DatasetInvalid`."""
    with watch_hint(dataset.job) if dataset.job else nullcontext():
        if dataset.job and not session.json:
            follow(session.console, session.client.jobs.watch(dataset.job))
        return session.client.datasets.wait(dataset.id)


def ready_dataset(session: Session, what: str, options: dict[str, Any], *, split: str | None = None) -> str:
    """The id of the data set, whose import has ended; what is uploaded is all of this split, if one is named.
    `what` is a path, a source, or the id or the name of a data set. Raises `DatasetInvalid`."""
    if not (what.startswith(("builtin:", "dataset:")) or "/" in what or Path(what).exists()):
        try:
            dataset = session.client.datasets.get(what)
        except masktune.ProblemError as error:
            if error.status == 404 and not what.startswith("ds_"):
                fail(f"there is no file or folder {what} here, and no data set has this name", USAGE)
            raise
        if not options:
            return session.client.datasets.wait(dataset.id).id
        what = f"dataset:{dataset.id}"
    options = options if split is None else options | {"split": split}
    dataset = wait_for_import(session, start_import(session, what, options=options))
    if not session.json:
        session.console.print(table(dataset))
    return dataset.id
