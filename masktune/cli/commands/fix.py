"""`masktune fix`: from a folder of images to the model to use, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from masktune.cli import completion
from masktune.cli.commands import datasets, jobs
from masktune.cli.session import Session, with_session


@with_session
def fix(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="DIR|DATASET",
            help="A folder or an archive of labelled images, or the id of a data set (ds_…).",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the training [0].")] = None,
    set: Annotated[  # the option's name
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A field of the job: --set epochs=10. Tab completes the names.",
            autocompletion=completion.fields,
        ),
    ] = None,
    subject_pattern: datasets.SubjectPattern = None,
    hold_out: datasets.HoldOut = None,
    group: datasets.GroupColumn = None,
    label: datasets.LabelColumn = None,
    grey_window: datasets.GreyWindow = None,
    new_splits: datasets.NewSplits = False,
) -> None:
    """Find a way past the shortcuts in these images, and say which model to use and what to do next.

    Uploads the images if they are not there yet, and starts a job of the kind `mitigate`. A data set is read
    again, as a new one, where an option says how.
    """
    named: dict[str, Any] = {"name": name, "seed": seed}
    fields = jobs.parse_fields("mitigate", set) | {
        name: field for name, field in named.items() if field is not None
    }
    options = datasets.format_options(subject_pattern, hold_out, group, label, grey_window, new_splits)
    job = session.client.jobs.start("mitigate", dataset=ready_dataset(session, what, options), **fields)
    session.say(f"job {job.id} is queued")
    jobs.require_success(session, jobs.follow_to_end(session, job.id))
    from rich.console import Group

    from masktune.cli.report import conclusions

    report = session.client.jobs.report(job.id)
    session.show(report, lambda: Group(*conclusions(report)))
    session.say(f"the whole report: masktune jobs report {job.id} --open")


def ready_dataset(session: Session, what: str, options: dict[str, Any], *, split: str | None = None) -> str:
    """The id of the data set, whose import has ended; what is uploaded is all of this split, if one is named.
    Raises `DatasetInvalid`."""
    if what.startswith("ds_") and not Path(what).exists():
        if not options:
            return session.client.datasets.wait(what).id
        what = f"dataset:{what}"
    options = options if split is None else options | {"split": split}
    dataset = datasets.wait_for_import(session, datasets.start_import(session, what, options=options))
    if not session.json:
        session.console.print(datasets.table(dataset))
    return dataset.id
