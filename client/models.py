"""Models: listed, named by aliases, downloaded, imported, and judged: risk over coverage, drift."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from client.calls import call, create, fetch, get, idempotent, pages, segment
from client.downloads import download
from client.limits import check_upload
from client.resource import D, Listing, Operation, Resource
from client.shapes import Alias, Drift, Model, RiskCoverage
from client.uploads import STORED_SECONDS, CountedFile, OnSent, spelt
from client.wire import EmittingFlow, FilePart, Flow, Request


def get_model(model: str) -> Flow[Model]:
    """One model, by id or alias."""
    return call(get(f"/models/{segment(model)}"), Model)


def list_models(
    *, dataset: str | None = None, job: str | None = None, arm: str | None = None, limit: int | None = None
) -> EmittingFlow[Model]:
    """Every model, newest first, of one data set, job or arm where asked for. `limit`: the size of a page."""
    return pages(get("/models", dataset=dataset, job=job, arm=arm, limit=limit), Model)


def delete_model(model: str) -> Flow[None]:
    """Delete its weights. Refused (409) while something points to it."""
    yield from fetch(Request(method="DELETE", path=f"/models/{segment(model)}", repeatable=True))


def download_model(
    model: str,
    target: Path | str,
    *,
    format: Literal["safetensors", "onnx"] = "safetensors",
    on_received: OnSent | None = None,
) -> Flow[Path]:
    """Write the weights to `target`, which appears whole or not at all."""
    return download(get(f"/models/{segment(model)}/download", format=format), Path(target), on_received)


def import_model(
    path: Path | str,
    *,
    backbone: str,
    classes: list[str],
    image_size: int,
    dataset: str | None = None,
    on_sent: OnSent | None = None,
    idempotency_key: str | None = None,
) -> Flow[Model]:
    """Bring a safetensors file, with its backbone and its classes in the order of the logits.

    Raises `TooLarge`, with nothing sent, for a file above the service's limit.
    """
    path = Path(path)
    form = {"backbone": backbone, "classes": json.dumps(classes), "image_size": str(image_size)}
    if dataset is not None:
        form["dataset"] = dataset
    request = Request(
        method="POST",
        path="/models",
        form=form,
        files=(FilePart("file", spelt(path.name), partial(CountedFile, path, on_sent)),),
        headers=idempotent(idempotency_key),
        repeatable=True,
        answer_seconds=STORED_SECONDS,
    )
    yield from check_upload(path)
    return (yield from call(request, Model))


class RiskCoverageOptions(TypedDict, total=False):
    """What may be asked of a curve. `coverage` or `max_risk`, one of them, chooses the table's threshold."""

    score: str | None
    """The score that decides; by default the calibration's."""
    points: int | None
    """Coverages of the curve, evenly spaced; by default 100."""
    coverage: float | None
    """In (0, 1]."""
    max_risk: float | None
    """In (0, 1)."""
    risk_confidence: float | None
    """Of certificate and bounds, in [0.5, 1)."""


def risk_coverage(model: str, **options: Unpack[RiskCoverageOptions]) -> Flow[RiskCoverage]:
    """The risk-coverage curve on the calibration split, with AURC, AUGRC, bounds and a table of groups."""
    return call(get(f"/models/{segment(model)}/risk-coverage", **options), RiskCoverage)


def risk_coverage_picture(model: str, **options: Unpack[RiskCoverageOptions]) -> Flow[bytes]:
    """The same curve drawn, as a PNG."""
    request = replace(
        get(f"/models/{segment(model)}/risk-coverage", **options), headers={"Accept": "image/png"}
    )
    response = yield from fetch(request)
    return response.content


def drift(model: str, *, days: int | None = None) -> Flow[Drift]:
    """Whether what the model was served in the last `days` still looks like its calibration split."""
    return call(get(f"/models/{segment(model)}/drift", days=days), Drift)


def list_aliases() -> EmittingFlow[Alias]:
    """Every alias, by name."""
    return pages(get("/aliases"), Alias)


def get_alias(name: str) -> Flow[Alias]:
    """One alias with the history of its moves."""
    return call(get(f"/aliases/{segment(name)}"), Alias)


def set_alias(name: str, model: str) -> Flow[Alias]:
    """Let the name stand for this model from now on."""
    return call(
        Request(method="PUT", path=f"/aliases/{segment(name)}", json={"model": model}, repeatable=True), Alias
    )


def roll_back_alias(
    name: str, *, version: int | None = None, idempotency_key: str | None = None
) -> Flow[Alias]:
    """Let the name stand for the model of an earlier move; without a `version`, for the one before."""
    return call(
        create(f"/aliases/{segment(name)}/rollback", json={"version": version}, key=idempotency_key), Alias
    )


def delete_alias(name: str) -> Flow[None]:
    """Forget the name; the model stays."""
    yield from fetch(Request(method="DELETE", path=f"/aliases/{segment(name)}", repeatable=True))


class Models(Resource[D]):
    """`client.models`."""

    get = Operation(get_model)
    list = Listing(list_models)
    delete = Operation(delete_model)
    download = Operation(download_model)
    import_ = Operation(import_model)
    risk_coverage = Operation(risk_coverage)
    risk_coverage_picture = Operation(risk_coverage_picture)
    drift = Operation(drift)
    aliases = Listing(list_aliases)
    alias = Operation(get_alias)
    set_alias = Operation(set_alias)
    roll_back_alias = Operation(roll_back_alias)
    delete_alias = Operation(delete_alias)
