"""`masktune models …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import masktune
from masktune.cli import completion, options
from masktune.cli.options import (
    Coverage,
    ListedMetadata,
    ListedName,
    MaxClassRisk,
    MaxMissed,
    MaxRisk,
    Metadata,
    MinScore,
    Most,
    NewMetadata,
    NewName,
    OnUncertified,
    Output,
    RiskConfidence,
    Score,
    Yes,
    changes_of,
    filters_of,
    metadata_of,
)
from masktune.cli.options import Model as Name
from masktune.cli.output import age, figure
from masktune.cli.progress import transfer_bar
from masktune.cli.session import Session, with_session
from masktune.cli.tables import models as tables
from masktune.contract.report.text import drift_name
from masktune.contract.report.text.formats import byte_size

app = typer.Typer(no_args_is_help=True, help="Inspect trained models, name them, download them.")

Dataset = Annotated[
    str | None, typer.Option(help="Data set that it belongs to.", autocompletion=completion.datasets)
]
AliasName = Annotated[
    str, typer.Argument(help="The alias.", show_default=False, autocompletion=completion.aliases)
]


@app.command("list")
@with_session
def list_(
    session: Session,
    dataset: Annotated[
        str | None, typer.Option(help="Only models of this data set.", autocompletion=completion.datasets)
    ] = None,
    job: Annotated[
        str | None, typer.Option(help="Only models of this job.", autocompletion=completion.jobs)
    ] = None,
    arm: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(completion.ARMS[:-1])} or {completion.ARMS[-1]}.",
            autocompletion=completion.words(*completion.ARMS),
        ),
    ] = None,
    name: ListedName = None,
    metadata: ListedMetadata = None,
    search: options.Search = None,
    after: options.After = None,
    before: options.Before = None,
    most: Most = 20,
) -> None:
    """List models, newest first."""
    models = session.client.models.list(
        dataset=dataset,
        job=job,
        arm=arm,
        limit=min(most, 100),
        **filters_of(name, metadata, search, after, before),
    )
    session.show_all(
        models,
        (
            "id",
            "name",
            "arm",
            "data set",
            "backbone",
            "test accuracy",
            "worst group",
            "size",
            "created",
            "drift",
        ),
        lambda m: (
            m.id,
            m.name or "–",
            m.arm,
            session.dataset_names.get(m.dataset, m.dataset) or "–",
            m.backbone,
            figure(tables.first_figures(m).accuracy),
            figure(tables.first_figures(m).worst_group_accuracy),
            byte_size(m.occupies),
            age(m.created_at),
            drift_name(m.drift),
        ),
        most=most,
    )


@app.command()
@with_session
def backbones(
    session: Session,
    name: Annotated[
        str | None, typer.Option(help="Only networks whose names contain this, e.g. resnet or timm/res.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help=f"Where their published weights are: {', '.join(completion.PLACES[:-1])} or "
            f"{completion.PLACES[-1]}.",
            autocompletion=completion.words(*completion.PLACES),
        ),
    ] = None,
    most: Most = 20,
) -> None:
    """List the networks that a job may name, those with the nearest weights first."""
    session.show_all(
        session.client.models.backbones(name=name, weights=weights, limit=min(most, 100)),
        ("backbone", "library", "weights", "image size"),
        lambda b: (b.name, b.library, b.weights, figure(b.image_size)),
        most=most,
    )


@app.command()
@with_session
def show(session: Session, model: Name) -> None:
    """Show one model."""
    session.show(session.client.models.get(model), tables.model_table)


@app.command()
@with_session
def edit(session: Session, model: Name, name: NewName = None, metadata: NewMetadata = None) -> None:
    """Change the name and the metadata of a model."""
    session.show(session.client.models.update(model, **changes_of(name, metadata)), tables.model_table)


@app.command()
@with_session
def add(
    session: Session,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="A safetensors file; never a pickle.", show_default=False
        ),
    ],
    backbone: Annotated[str, typer.Option(help="Its architecture, by the name that jobs use.")],
    classes: Annotated[
        list[str],
        typer.Option("--class", metavar="NAME", help="A class; repeat it in the order of the logits."),
    ],
    image_size: Annotated[int, typer.Option(min=8, help="Side in pixels of the images it was trained on.")],
    dataset: Dataset = None,
    name: Annotated[str | None, typer.Option(help="What to call the model.")] = None,
    metadata: Metadata = None,
) -> None:
    """Import a model of your own. Its weights keep the names that its library gives them."""
    with transfer_bar(session.console, f"uploading {file.name}") as on_sent:
        network = session.client.models.import_(
            file,
            backbone=backbone,
            classes=classes,
            image_size=image_size,
            dataset=dataset,
            name=name,
            metadata=metadata_of(metadata),
            on_sent=on_sent,
        )
    session.show(network, tables.model_table)


@app.command()
@with_session
def alias(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(help="The alias. Without one, all are listed.", autocompletion=completion.aliases),
    ] = None,
    model: Annotated[
        str | None,
        typer.Argument(help="The model to point it at.", autocompletion=completion.models),
    ] = None,
) -> None:
    """List the aliases, show one with its history, or point one at a model."""
    models = session.client.models
    if name is None:
        session.show_all(
            models.aliases(),
            ("alias", "model", "moves", "moved", "drift"),
            lambda a: (a.name, a.model, str(a.version), age(a.updated_at), drift_name(a.drift)),
        )
        return
    target = models.alias(name) if model is None else models.set_alias(name, model)
    session.show(target, tables.history)


@app.command()
@with_session
def unalias(
    session: Session,
    name: AliasName,
) -> None:
    """Delete an alias. The model that it points to is kept."""
    session.client.models.delete_alias(name)
    session.say(f"alias {name} is deleted; its model stays")


@app.command()
@with_session
def rollback(
    session: Session,
    name: AliasName,
    version: Annotated[int | None, typer.Option(help="Move to go back to. Default: the one before.")] = None,
) -> None:
    """Point an alias back at the model that it pointed to before."""
    session.show(session.client.models.roll_back_alias(name, version=version), tables.history)


@app.command()
@with_session
def download(
    session: Session,
    model: Name,
    output: Output = None,
    format: Annotated[
        Literal["safetensors", "onnx", "bundle"],
        typer.Option(help="Weights, the network in ONNX, or a zip that answers by a policy by itself."),
    ] = "safetensors",
    coverage: Coverage = None,
    max_risk: MaxRisk = None,
    max_class_risk: MaxClassRisk = None,
    max_missed: MaxMissed = None,
    risk_confidence: RiskConfidence = None,
    min_score: MinScore = None,
    on_uncertified: OnUncertified = None,
    score: Score = None,
) -> None:
    """Write a model to a file. A policy is for a bundle, whose graph has its threshold."""
    target = output or Path(f"{model}.{'zip' if format == 'bundle' else format}")
    policy: dict[str, Any] = {  # the client leaves out what is None
        "coverage": coverage,
        "max_risk": max_risk,
        "max_class_risk": max_class_risk,
        "max_missed": max_missed,
        "risk_confidence": risk_confidence,
        "min_score": min_score,
        "on_uncertified": on_uncertified,
        "score": score,
    }
    with transfer_bar(session.console, f"downloading {target.name}") as on_received:
        session.client.models.download(model, target, format=format, on_received=on_received, **policy)
    what = "bundle is" if format == "bundle" else "weights are"
    session.show({"path": str(target)}, lambda _: f"the {what} in {target}")


@app.command("risk-coverage")
@with_session
def risk_coverage(
    session: Session,
    model: Name,
    coverage: Annotated[
        float | None, typer.Option(help="Show groups at the threshold that answers this share [0.9].")
    ] = None,
    max_risk: Annotated[
        float | None, typer.Option(help="Show groups at the threshold certified for this risk.")
    ] = None,
    max_class_risk: Annotated[
        float | None, typer.Option(help="Show what is certified for the answers of each class.")
    ] = None,
    max_missed: Annotated[
        float | None, typer.Option(help="Show what is certified for the inputs of each class.")
    ] = None,
    risk_confidence: Annotated[
        float | None, typer.Option(help="Confidence of the certificates and the bounds [0.99].")
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(completion.SCORES[:-1])} or {completion.SCORES[-1]}.",
            autocompletion=completion.words(*completion.SCORES),
        ),
    ] = None,
    minority_share: Annotated[
        float | None, typer.Option(help="Also estimate it if this share of each class lacked its pattern.")
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=1000, help="Points on the curve.")] = 10,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also draw the curve to this SVG file.")
    ] = None,
) -> None:
    """Show how the risk falls as fewer inputs are answered, with a row for each group and class."""
    models = session.client.models
    options: masktune.RiskCoverageOptions = {
        "score": score,
        "coverage": coverage,
        "max_risk": max_risk,
        "max_class_risk": max_class_risk,
        "max_missed": max_missed,
        "risk_confidence": risk_confidence,
        "minority_share": minority_share,
    }
    if plot is not None:  # with the service's default number of points: a plot has more room than a table
        plot.write_text(models.risk_coverage_picture(model, **options), encoding="utf-8")
    options["points"] = points
    session.show(models.risk_coverage(model, **options), tables.curve)
    if plot is not None:
        session.say(f"the curve is drawn in {plot}")


@app.command()
@with_session
def drift(
    session: Session,
    model: Name,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days of counts to show.")] = 7,
) -> None:
    """Show whether a model's inputs still look like its calibration split."""
    session.show(session.client.models.drift(model, days=days), tables.drift)


@app.command("acknowledge-drift")
@with_session
def acknowledge_drift(session: Session, model: Name) -> None:
    """End the alarm of drift that was found. If the inputs still differ, it is found again."""
    session.show(session.client.models.acknowledge_drift(model), tables.drift)


@app.command()
@with_session
def delete(session: Session, model: Name, yes: Yes = False) -> None:
    """Delete a model. Refused while something refers to it."""
    session.ask_and_delete("model", model, session.client.models.delete, yes=yes)
