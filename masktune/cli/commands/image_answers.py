"""`masktune jobs image-answers`: what a person says of the images that a report lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from masktune.cli.commands.jobs import Id
from masktune.cli.output import REFUSED, USAGE, age, fail, new_table
from masktune.cli.session import Session, with_session

if TYPE_CHECKING:
    from rich.table import Table

    from masktune import ImageAnswers


@with_session
def image_answers(
    session: Session,
    job_id: Id,
    yes: Annotated[
        bool, typer.Option("--yes", help="They lack a pattern that the others of their class share.")
    ] = False,
    no: Annotated[bool, typer.Option("--no", help="They lack no such pattern.")] = False,
    exceptions: Annotated[
        list[int] | None,
        typer.Option("--except", metavar="SAMPLE", help="An image of which the opposite is true."),
    ] = None,
    right: Annotated[
        list[int] | None,
        typer.Option("--label-right", metavar="SAMPLE", help="Its label looks wrong, and is right."),
    ] = None,
) -> None:
    """Say of the images that a report lists whether they lack the pattern of their class.

    The answer is kept, and the next job on the data set goes by it. Without an answer, show what was answers.
    """
    jobs = session.client.jobs
    if (yes and no) or ((exceptions or right) and not (yes or no)):
        fail("answer by --yes or --no; --except names the images of which the opposite is true", USAGE)
    if not (yes or no):
        answers = jobs.image_answers(job_id)
    else:
        recommendation = jobs.report(job_id).recommendation
        listed = recommendation.samples_to_review if recommendation else []
        if not listed:
            fail(f"the report of job {job_id} lists no images to look at", REFUSED)
        if unlisted := sorted(set(exceptions or ()) - set(listed)):
            fail(f"the report lists no sample {unlisted[0]}; it lists {', '.join(map(str, listed))}", USAGE)
        answers = jobs.set_image_answers(
            job_id,
            {sample: yes != (sample in (exceptions or ())) for sample in listed},
            label_right=sorted(set(right or ()) - set(listed)),
        )
    session.show(answers, table)


def table(answers: ImageAnswers) -> Table:
    """The answers in short, and the images of which the minority of the answers says the opposite."""
    grid = new_table(title=f"images of job {answers.job}")
    grid.add_row("lack a pattern", f"{answers.lacking} of {len(answers.answers)} images")
    is_open = answers.gate == "open"
    exceptions = [str(one.sample) for one in answers.answers if one.lacks_pattern is not is_open]
    grid.add_row("except", ", ".join(exceptions) or "–")
    grid.add_row("label is right", ", ".join(map(str, answers.label_right)) or "–")
    grid.add_row("the next job", "infers groups from them" if is_open else "infers no groups")
    grid.add_row("by", answers.created_by_name or answers.created_by or "–")
    grid.add_row("answered", age(answers.updated_at))
    return grid
