"""Models: list, alias, download, import and judge them (risk-coverage curve, drift)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from masktune.client.calls import (
    Changes,
    Filters,
    call,
    create,
    fetch,
    get,
    get_list,
    idempotent,
    pages,
    segment,
    update,
)
from masktune.client.predict import PolicyOptions
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.transfers import STORED_SECONDS, CountedFile, OnSent, as_utf8, check_upload, download
from masktune.client.wire import EmittingFlow, FilePart, Flow, Request
from masktune.contract.models import Alias, AliasWithHistory, Backbone, Model
from masktune.contract.report.charts import picture
from masktune.contract.report.curves import reject_chart
from masktune.contract.serving.reject_option import Drift, RiskCoverage

EXPORT_SECONDS = 1800.0
"""How long to wait for a graph: others may be exported first."""


def get_model(model: str) -> Flow[Model]:
    """Get one model by id or alias."""
    return call(get(f"/models/{segment(model)}"), Model)


def update_model(model: str, *, if_match: str | None = None, **changes: Unpack[Changes]) -> Flow[Model]:
    """Change the name or the metadata. `if_match`: only if it still has this ETag."""
    return call(update(f"/models/{segment(model)}", changes, if_match), Model)


def list_models(
    *,
    dataset: str | None = None,
    job: str | None = None,
    arm: str | None = None,
    limit: int | None = None,
    **filters: Unpack[Filters],
) -> EmittingFlow[Model]:
    """Iterate over models, newest first, optionally of one data set, job or arm, or by what all resources
    have: `list(name="night", metadata={"site": "Bern"})`. `limit` is the page size."""
    return pages(get_list("/models", filters, dataset=dataset, job=job, arm=arm, limit=limit), Model)


def delete_model(model: str) -> Flow[None]:
    """Delete the model and its weights. A 409 problem while something refers to it."""
    yield from fetch(Request(method="DELETE", path=f"/models/{segment(model)}", repeatable=True))


def download_model(
    model: str,
    target: Path | str,
    *,
    format: Literal["safetensors", "onnx", "bundle"] = "safetensors",
    on_received: OnSent | None = None,
    **policy: Unpack[PolicyOptions],
) -> Flow[Path]:
    """Write the weights, the network as an ONNX graph, or a bundle that answers by the policy to `target`.
    The file appears complete or not at all."""
    request = get(f"/models/{segment(model)}/download", format=format, **policy)
    if format != "safetensors":
        request = replace(request, answer_seconds=EXPORT_SECONDS)
    return download(request, Path(target), on_received)


def import_model(
    path: Path | str,
    *,
    backbone: str,
    classes: list[str],
    image_size: int,
    dataset: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, str] | None = None,
    on_sent: OnSent | None = None,
    idempotency_key: str | None = None,
) -> Flow[Model]:
    """Import a safetensors file. `classes` are in the order of the logits.

    Raises `TooLarge`, before anything is sent, for a file above the service's limit.
    """
    path = Path(path)
    form = {"backbone": backbone, "classes": json.dumps(classes), "image_size": str(image_size)}
    notes = {"dataset": dataset, "name": name, "metadata": json.dumps(dict(metadata)) if metadata else None}
    request = Request(
        method="POST",
        path="/models",
        form=form | {field: text for field, text in notes.items() if text is not None},
        files=(FilePart("file", as_utf8(path.name), partial(CountedFile, path, on_sent)),),
        headers=idempotent(idempotency_key),
        repeatable=True,
        answer_seconds=STORED_SECONDS,
    )
    yield from check_upload(path)
    return (yield from call(request, Model))


class RiskCoverageOptions(TypedDict, total=False):
    """Options of a risk-coverage curve. Either `coverage` or `max_risk` sets the threshold of its table."""

    score: str | None
    """The confidence score to rank by. Default: the calibration's."""
    points: int | None
    """Number of points on the curve, evenly spaced in coverage. Default: 100."""
    coverage: float | None
    """In (0, 1]."""
    max_risk: float | None
    """In (0, 1)."""
    max_class_risk: float | None
    """In (0, 1): adds `promises` by class, instead of a table at one of the two."""
    max_missed: float | None
    """The same."""
    risk_confidence: float | None
    """Confidence level of the certificates and the bounds, in [0.5, 1)."""
    minority_share: float | None
    """Adds an estimate of the curve if this share, in [0, 1], of each class lacked its
    pattern. Not with `max_risk`."""


def risk_coverage(model: str, **options: Unpack[RiskCoverageOptions]) -> Flow[RiskCoverage]:
    """Get the risk-coverage curve on the calibration split: AURC, AUGRC, bounds and a table of groups."""
    return call(get(f"/models/{segment(model)}/risk-coverage", **options), RiskCoverage)


def risk_coverage_picture(model: str, **options: Unpack[RiskCoverageOptions]) -> Flow[str]:
    """Draw the same curve as the text of an SVG file."""
    return picture(reject_chart((yield from risk_coverage(model, **options)), None))


def drift(model: str, *, days: int | None = None) -> Flow[Drift]:
    """Get whether the model's inputs still look like its calibration split, and the counts of `days`."""
    return call(get(f"/models/{segment(model)}/drift", days=days), Drift)


def acknowledge_drift(model: str) -> Flow[Drift]:
    """End the alarm of drift that was found; the windows of inputs begin anew. A 409 problem if none was."""
    return call(
        Request(method="POST", path=f"/models/{segment(model)}/drift/acknowledge", repeatable=True), Drift
    )


def list_aliases() -> EmittingFlow[Alias]:
    """Iterate over all aliases, sorted by name."""
    return pages(get("/aliases"), Alias)


def get_alias(name: str) -> Flow[AliasWithHistory]:
    """Get one alias with the history of its moves."""
    return call(get(f"/aliases/{segment(name)}"), AliasWithHistory)


def set_alias(name: str, model: str) -> Flow[AliasWithHistory]:
    """Point the alias at this model."""
    return call(
        Request(method="PUT", path=f"/aliases/{segment(name)}", json={"model": model}, repeatable=True),
        AliasWithHistory,
    )


def roll_back_alias(
    name: str, *, version: int | None = None, idempotency_key: str | None = None
) -> Flow[AliasWithHistory]:
    """Point the alias back at the model of an earlier move; by default, of the move before the current."""
    return call(
        create(f"/aliases/{segment(name)}/rollback", json={"version": version}, key=idempotency_key),
        AliasWithHistory,
    )


def delete_alias(name: str) -> Flow[None]:
    """Delete the alias. The model is kept."""
    yield from fetch(Request(method="DELETE", path=f"/aliases/{segment(name)}", repeatable=True))


def list_backbones(
    *, name: str | None = None, weights: str | None = None, limit: int | None = None
) -> EmittingFlow[Backbone]:
    """Iterate over the networks that a job may name, optionally by a part of the name or by the place of
    their weights: packaged, cached, hub or none, in this order. `limit` is the page size."""
    return pages(get("/backbones", name=name, weights=weights, limit=limit), Backbone)


class Models(Resource[D]):
    """`client.models`."""

    get = Operation(get_model)
    update = Operation(update_model)
    list = Listing(list_models)
    delete = Operation(delete_model)
    download = Operation(download_model)
    import_ = Operation(import_model)
    risk_coverage = Operation(risk_coverage)
    risk_coverage_picture = Operation(risk_coverage_picture)
    drift = Operation(drift)
    acknowledge_drift = Operation(acknowledge_drift)
    aliases = Listing(list_aliases)
    alias = Operation(get_alias)
    set_alias = Operation(set_alias)
    roll_back_alias = Operation(roll_back_alias)
    delete_alias = Operation(delete_alias)
    backbones = Listing(list_backbones)
