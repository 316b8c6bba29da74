"""`masktune fix` and `masktune evaluate`: from a folder of images to the model to use, in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from masktune.cli import completion, importing
from masktune.cli.commands.jobs import Id
from masktune.cli.importing import format_options, ready_dataset
from masktune.cli.network_comparison import check_fields, choose_network
from masktune.cli.options import Fields, parse_fields
from masktune.cli.progress import follow_to_conclusion
from masktune.cli.session import Session, with_session


@with_session
def fix(
    session: Session,
    what: Annotated[
        str,
        typer.Argument(
            metavar="DIR|DATASET",
            help="A folder or an archive of labelled images, or the id (ds_…) or name of a data set.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the training [0].")] = None,
    set: Fields = None,  # the option's name
    compare_networks: Annotated[
        bool,
        typer.Option(
            "--compare-networks",
            help="Images that are no photographs: first train a small network too, on a part of them, and go "
            "on with it if it is better on the validation images.",
        ),
    ] = False,
    subject_pattern: importing.SubjectPattern = None,
    hold_out: importing.HoldOut = None,
    group: importing.GroupColumn = None,
    label: importing.LabelColumn = None,
    path: importing.PathColumn = None,
    grey_window: importing.GreyWindow = None,
    new_splits: importing.NewSplits = False,
) -> None:
    """Find a way past the shortcuts in these images, and say which model to use and what to do next.

    Uploads the images if they are not there yet, and starts a job of the kind `mitigate`. A data set is read
    again, as a new one, where an option says how.
    """
    fields = parse_fields("mitigate", set, name=name, seed=seed)
    if compare_networks:
        check_fields(fields)
    options = format_options(subject_pattern, hold_out, group, label, path, grey_window, new_splits)
    dataset = ready_dataset(session, what, options)
    if compare_networks:
        fields |= choose_network(session, dataset, fields)
    follow_to_conclusion(session, session.client.jobs.start("mitigate", dataset=dataset, **fields))


@with_session
def evaluate(
    session: Session,
    job_id: Id,
    what: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|DATASET",
            help="A folder or an archive of labelled images that the job was not trained on, or the id "
            "(ds_…) or name of a data set.",
            show_default=False,
            autocompletion=completion.datasets,
        ),
    ],
    breaks_pattern: Annotated[
        bool,
        typer.Option(
            "--breaks-pattern",
            help="Say that all these images lack the pattern which others of their class share.",
        ),
    ] = False,
    subject_pattern: importing.SubjectPattern = None,
    group: importing.GroupColumn = None,
    label: importing.LabelColumn = None,
    path: importing.PathColumn = None,
    grey_window: importing.GreyWindow = None,
) -> None:
    """Judge all models of a job on images that break the pattern, and say which to use.

    Uploads the images, as test images alone, if they are not there yet. Images and subjects that trained the
    models do not count.
    """
    options = format_options(subject_pattern, None, group, label, path, grey_window, False)
    dataset = ready_dataset(session, what, options, split="test")
    job = session.client.jobs.evaluate(job_id, dataset, breaks_pattern=breaks_pattern)
    follow_to_conclusion(session, job)
