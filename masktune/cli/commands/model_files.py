"""`masktune models add`, `download`: models as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from masktune.cli import completion
from masktune.cli.options import (
    Coverage,
    MaxClassRisk,
    MaxMissed,
    MaxRisk,
    Metadata,
    MinScore,
    Model,
    OnUncertified,
    Output,
    RiskConfidence,
    Score,
    metadata_of,
)
from masktune.cli.progress import transfer_bar
from masktune.cli.session import Session, with_session
from masktune.cli.tables import models as tables

Dataset = Annotated[
    str | None, typer.Option(help="Data set that it belongs to.", autocompletion=completion.datasets)
]


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


@with_session
def download(
    session: Session,
    model: Model,
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
