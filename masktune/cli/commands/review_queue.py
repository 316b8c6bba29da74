"""`masktune reviews …`: images that models were sent, and what people say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masktune.cli import completion
from masktune.cli.options import Model, Most
from masktune.cli.output import USAGE, age, fail, figure, new_table
from masktune.cli.session import Session, with_session
from masktune.contract.report.text import promise_statement
from masktune.contract.report.text.formats import byte_size, percent

if TYPE_CHECKING:
    from rich.table import Table

    from masktune import Promise, ReviewItem, ReviewPolicy

app = typer.Typer(no_args_is_help=True, help="Review the images on which models abstain, and some answers.")

OfModel = Annotated[
    str | None, typer.Option("--model", help="Only those of this model.", autocompletion=completion.models)
]
State = Annotated[
    str | None,
    typer.Option(
        help="waiting, answered or deleted.",
        autocompletion=completion.words("waiting", "answered", "deleted"),
    ),
]


@app.command()
@with_session
def policy(
    session: Session,
    model: Model,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Whether images are kept.")] = None,
    max_risk: Annotated[float | None, typer.Option(help="The promise that a sample monitors.")] = None,
    risk_confidence: Annotated[float | None, typer.Option(help="Its confidence. Default: 0.99.")] = None,
    audit_share: Annotated[float | None, typer.Option(help="Share of the answers. Default: 0.01.")] = None,
    keep_days: Annotated[float | None, typer.Option(help="Default: 90.")] = None,
    keep_bytes: Annotated[int | None, typer.Option(help="Default: 1 GiB.")] = None,
) -> None:
    """Set which images of a model are kept for review, or show it, and whether its promise holds."""
    fields = {
        "max_risk": max_risk,
        "risk_confidence": risk_confidence,
        "audit_share": audit_share,
        "keep_days": keep_days,
        "keep_bytes": keep_bytes,
    }
    chosen = {name: number for name, number in fields.items() if number is not None}
    if on is None and chosen:
        fail("add --on or --off: the whole policy is set at once", USAGE)
    reviews = session.client.reviews
    policy = reviews.policy(model) if on is None else reviews.set_policy(model, enabled=on, **chosen)
    promise = session.client.models.get(model).promise
    session.show(policy, lambda policy: _table(policy, promise))


@app.command("list")
@with_session
def list_(session: Session, model: OfModel = None, state: State = None, most: Most = 20) -> None:
    """List the images of review queues, newest first."""
    session.show_all(
        session.client.reviews.list(model=model, state=state, limit=min(most, 100)),
        ("id", "model", "kind", "state", "predicted", "score", "answer", "by", "sent"),
        lambda one: (
            one.id,
            one.model,
            one.kind,
            one.state,
            *_predicted(one),
            one.label or one.outcome or "–",
            one.answered_by_name or one.answered_by or "–",
            age(one.created_at),
        ),
        most=most,
    )


@app.command()
@with_session
def export(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The table to write.", dir_okay=False, show_default=False)],
    model: OfModel = None,
    state: State = None,
) -> None:
    """Write the images of review queues, without their pixels, to a CSV table."""
    session.client.reviews.export(file, model=model, state=state)
    session.say(f"wrote {file}")


@app.command()
@with_session
def dataset(
    session: Session,
    model: Model,
    name: Annotated[str, typer.Option(help="What to call the data set.")] = "With reviewed images",
) -> None:
    """Make a data set of the model's and its answered abstained images, which join `train`."""
    session.show(
        session.client.reviews.make_dataset(model, name),
        lambda dataset: f"data set {dataset.id} is importing",
    )


def _predicted(item: ReviewItem) -> tuple[str, str]:
    """The model's label and score, which an image of the audit sample has once it is answered."""
    prediction = item.prediction
    return ("–", "–") if prediction is None else (prediction.label or "–", figure(prediction.score))


def _table(policy: ReviewPolicy, promise: Promise | None) -> Table:
    """The policy, and what is known of the promise."""
    grid = new_table()
    grid.add_row("images are kept", "yes" if policy.enabled else "no")
    grid.add_row("for", f"{policy.keep_days:g} days, at most {byte_size(policy.keep_bytes)}")
    grid.add_row("audit sample", percent(policy.audit_share) if policy.max_risk is not None else "none")
    grid.add_row("promise", "none" if promise is None else promise_statement(promise))
    return grid
