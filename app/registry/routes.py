"""`/models`: trained and imported networks, their files, their risk–coverage curves, their drift."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.auth.deps import ADMIN, EDITOR, READER, TRAINER, CallerDep, CallerFirst
from app.auth.idempotency import Idempotent
from app.datasets import uploads
from app.http import lists
from app.http.deps import ArtifactsDep, DatabaseDep, DiscardDep, Reading, RootPathDep, SettingsDep, Writing
from app.http.edits import apply_edit
from app.http.lists import DEFAULT_LIMIT, METADATA_FILTER, Cursor, FiltersDep, Limit
from app.http.multipart import MULTIPART
from app.http.problems import problems
from app.http.responses import (
    JSON,
    NOT_MODIFIED,
    IfMatch,
    Span,
    WholeFile,
    body_of,
    conditional,
    etag_of,
    matches,
    represent,
    send_pieces,
    sends,
    shape_of,
)
from app.inference import InferenceDep
from app.inference.engines.graph_store import Graph
from app.operations.metrics import MetricsDep
from app.registry import drift, risk_coverage
from app.registry import service as models
from app.registry import uploads as model_import
from app.registry.bundle import ZIP, BundlesDep
from app.registry.onnx_metadata import calibration_metadata
from app.registry.service import LoadedModel
from app.registry.weights_file import as_one_file
from app.selective.usage import UsageDep
from core.errors import InvalidInput, UnsupportedMedia
from core.queries import registry
from masktune.contract.base import DatasetRef, Edit, JobRef, Page
from masktune.contract.models import Model, ModelUpload
from masktune.contract.serving.predictions import DownloadQuery
from masktune.contract.serving.reject_option import Drift, RiskCoverage, RiskCoverageQuery
from masktune.contract.vocabulary import Arm

router = APIRouter(prefix="/models", tags=["models"], route_class=CallerFirst)

BINARY = "application/octet-stream"


@router.get(
    "",
    dependencies=[READER],
    response_model=Page[Model],
    summary="List models, newest first",
    responses=NOT_MODIFIED | problems(422),
    openapi_extra=METADATA_FILTER,
)
def list_models(
    request: Request,
    session: Reading,
    filters: FiltersDep,
    dataset: Annotated[DatasetRef | None, Query(description="Only models of this data set.")] = None,
    job: Annotated[JobRef | None, Query(description="Only models made by this job.")] = None,
    arm: Annotated[Arm | None, Query(description="Only models of this arm.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    rows = registry.listing(
        session,
        before=lists.decode(cursor),
        limit=limit + 1,
        dataset_id=dataset,
        job_id=job,
        arm=arm,
        filters=filters,
    )
    return conditional(request, lists.page(rows, limit, models.describe))


@router.post(
    "",
    dependencies=[TRAINER],
    status_code=201,
    response_model=Model,
    summary="Import a model from a safetensors file",
    responses=problems(404, 409, 413, 415, 422, 507),
    openapi_extra=body_of(
        "The file with its fields.",
        **{MULTIPART: shape_of(ModelUpload) | {"encoding": {"classes": {"contentType": JSON}}}},
    ),
)
async def import_model(
    request: Request,
    once: Idempotent,
    settings: SettingsDep,
    artifacts: ArtifactsDep,
    metrics: MetricsDep,
    root_path: RootPathDep,
) -> Response:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        raise UnsupportedMedia("send multipart/form-data with the safetensors file as `file`, and the fields")
    async with uploads.receive_upload(request, settings.scratch, metrics=metrics) as upload:
        return await run_in_threadpool(model_import.create, once, upload, artifacts, root_path)


@router.get(
    "/{model}",
    dependencies=[READER],
    response_model=Model,
    summary="Get a model",
    responses=NOT_MODIFIED | problems(404),
)
def get_model(request: Request, row: LoadedModel) -> Response:
    return conditional(request, models.describe(row))


@router.patch(
    "/{model}",
    dependencies=[EDITOR],
    response_model=Model,
    summary="Change the name and the metadata of a model",
    responses=problems(404, 412),
)
def edit_model(row: LoadedModel, edit: Edit, session: Writing, if_match: IfMatch = None) -> Response:
    locked = registry.get(session, row.id, lock=True)
    return apply_edit(session, locked, edit, if_match=if_match, describe=lambda: models.describe(locked))


@router.delete(
    "/{model}",
    dependencies=[ADMIN],
    status_code=204,
    summary="Delete a model and its files",
    responses=problems(404, 409),
)
def delete_model(row: LoadedModel, session: Writing, inference: InferenceDep, discard: DiscardDep) -> None:
    models.delete(session, inference, row.id, discard)


@router.get(
    "/{model}/download",
    dependencies=[READER],
    response_class=WholeFile,
    summary="Download the weights, an ONNX graph, or a bundle that answers without the service",
    responses=sends(BINARY, ZIP) | NOT_MODIFIED | problems(404, 409, 422, 503),
)
async def download_model(
    request: Request,
    row: LoadedModel,
    query: Annotated[DownloadQuery, Query()],
    artifacts: ArtifactsDep,
    inference: InferenceDep,
    bundles: BundlesDep,
) -> Response:
    if query.format == "bundle":
        return await bundles.send(request, row, query)
    if policy := query.model_dump(exclude={"format"}, exclude_defaults=True):
        raise InvalidInput.field(f"?{next(iter(policy))}", "needs-bundle", "a policy is for format=bundle")
    format = query.format
    filename, metadata = f"{row.id}.{format}", b""
    etag = f'"{filename}"'  # a strong validator, since a model's files never change
    if format == "onnx":
        path = await inference.exports.file(Graph((models.stored_network(row),)))  # may take minutes
        metadata = await run_in_threadpool(calibration_metadata, row, artifacts)
        etag = etag_of(metadata)  # they name the model
    else:
        path = await run_in_threadpool(artifacts.folder, row.artifact) / "model.safetensors"
    # An alias may move, and a model be calibrated anew, unnoticed by caches.
    lasts = format == "safetensors" and request.path_params["model"] == row.id
    headers = {
        "ETag": etag,
        "Accept-Ranges": "none",
        "Cache-Control": "private, max-age=31536000, immutable" if lasts else "private, no-cache",
    }
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    if format == "onnx":
        graph = Span(path, 0, path.stat().st_size)
        return send_pieces([graph, metadata], media_type=BINARY, headers=headers)
    if row.backbone_artifact is not None:
        backbone = await run_in_threadpool(artifacts.folder, row.backbone_artifact) / "backbone.safetensors"
        pieces = await run_in_threadpool(as_one_file, path, backbone)
        return send_pieces(pieces, media_type=BINARY, headers=headers)
    return WholeFile(path, media_type=BINARY, headers=headers)


@router.get(
    "/{model}/risk-coverage",
    dependencies=[READER],
    response_model=RiskCoverage,
    summary="Get the risk–coverage curve: how the risk falls as fewer inputs are answered",
    responses=NOT_MODIFIED | problems(404, 409, 422),
)
def get_risk_coverage(
    request: Request,
    row: LoadedModel,
    artifacts: ArtifactsDep,
    query: Annotated[RiskCoverageQuery, Query()],
) -> Response:
    return conditional(request, risk_coverage.curve(row, artifacts, query))


@router.get(
    "/{model}/drift",
    dependencies=[READER],
    response_model=Drift,
    summary="Check whether the inputs still look like the calibration split",
    responses=NOT_MODIFIED | problems(404, 409, 422),
)
def get_drift(
    request: Request,
    row: LoadedModel,
    artifacts: ArtifactsDep,
    usage: UsageDep,
    database: DatabaseDep,
    days: Annotated[int, Query(ge=1, le=90, description="How many days to look back.")] = drift.DAYS,
) -> Response:
    return conditional(request, drift.drift(row, artifacts, usage, database, days=days))


@router.post(
    "/{model}/drift/acknowledge",
    dependencies=[TRAINER],
    response_model=Drift,
    summary="Acknowledge drift that was found: the alarm ends, and the windows of inputs begin anew",
    responses=problems(404, 409),
)
def acknowledge_drift(
    row: LoadedModel, caller: CallerDep, artifacts: ArtifactsDep, usage: UsageDep, database: DatabaseDep
) -> Response:
    """Acknowledging twice changes nothing. If the inputs still differ, drift is found again."""
    acknowledged = drift.acknowledge(row, artifacts, usage, database, caller=caller.id)
    return represent(drift.drift(acknowledged, artifacts, usage, database))
