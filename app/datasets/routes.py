"""`/datasets`: uploads and sources, import reports, samples and their images."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from app.auth.deps import ADMIN, EDITOR, READER, TRAINER, CallerFirst
from app.datasets import samples, uploads
from app.datasets import service as datasets
from app.datasets.inferred import InferredDep, PatternFiltersDep
from app.datasets.pictures import PicturesDep
from app.datasets.presenter import describe, report_file
from app.datasets.samples import SampleFilters
from app.datasets.service import DatasetKey, LoadedDataset
from app.datasets.stores import Stores, StoresDep
from app.http import lists
from app.http.deps import ArtifactsDep, DiscardDep, Reading, SettingsDep, Writing
from app.http.edits import apply_edit
from app.http.lists import (
    DEFAULT_LIMIT,
    METADATA_FILTER,
    SAMPLE_METADATA_FILTER,
    Cursor,
    FiltersDep,
    Limit,
    MetadataPairs,
)
from app.http.multipart import MULTIPART
from app.http.negotiation import preferred
from app.http.problems import problems
from app.http.responses import (
    JSON,
    NOT_MODIFIED,
    IfMatch,
    attachment,
    body_of,
    conditional,
    etag_of,
    matches,
    send_file,
    sends,
    shape_of,
)
from app.http.validation import parse_json
from app.jobs.service import CreationDep
from app.operations.metrics import MetricsDep
from core.errors import InvalidInput, NotReported, UnsupportedMedia
from core.queries import datasets as queries
from core.queries.rows import newest_first
from core.tables import DatasetRow
from masktune.contract.base import DatasetEdit, Page
from masktune.contract.datasets import Dataset, DatasetUpload, FullReport, SourceRequest
from masktune.contract.samples import Sample
from masktune.contract.vocabulary import Split
from models.data.download import download

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=CallerFirst)

CSV, ZIP = "text/csv", "application/zip"

SampleNumber = Annotated[int, Path(description="Number of the sample in its data set.")]


@router.post(
    "",
    dependencies=[TRAINER],
    status_code=202,
    summary="Upload a data set, or import one from a source",
    response_model=Dataset,
    responses=problems(409, 422, 507),
    openapi_extra=body_of(
        "The archive with its fields, or the source.",
        **{"application/json": shape_of(SourceRequest), MULTIPART: shape_of(DatasetUpload)},
    ),
)
async def create_dataset(
    request: Request,
    creation: CreationDep,
    settings: SettingsDep,
    artifacts: ArtifactsDep,
    metrics: MetricsDep,
) -> Response:
    """The import starts by itself: follow its job, or poll until `state` is `ready` or `invalid`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        source = parse_json(SourceRequest, await request.body())
        return await run_in_threadpool(datasets.create_from_source, creation, source, settings.sources)
    if kind == MULTIPART:
        async with uploads.receive_upload(request, settings.scratch, metrics=metrics) as upload:
            return await run_in_threadpool(datasets.create_from_upload, creation, upload, artifacts)
    raise UnsupportedMedia(
        "send multipart/form-data with the archive as `file`, or application/json with `source`"
    )


@router.get(
    "",
    dependencies=[READER],
    summary="List data sets, newest first",
    response_model=Page[Dataset],
    responses=NOT_MODIFIED | problems(422),
    openapi_extra=METADATA_FILTER,
)
def list_datasets(
    request: Request,
    session: Reading,
    filters: FiltersDep,
    labelled: Annotated[
        bool | None, Query(description="Only those with labels, or only those without.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    rows = newest_first(
        session,
        DatasetRow,
        before=lists.decode(cursor),
        limit=limit + 1,
        where={DatasetRow.labelled: labelled},
        conditions=filters.conditions(session, DatasetRow),
    )
    return conditional(request, lists.page(rows, limit, describe))


@router.get(
    "/{dataset_id}",
    dependencies=[READER],
    summary="Get a data set with its report",
    response_model=Dataset,
    responses=NOT_MODIFIED | problems(404),
)
def get_dataset(request: Request, row: LoadedDataset, artifacts: ArtifactsDep) -> Response:
    return conditional(request, describe(row, artifacts))


@router.patch(
    "/{dataset_id}",
    dependencies=[EDITOR],
    summary="Change the name and the metadata of a data set",
    response_model=Dataset,
    responses=problems(404, 412),
)
def edit_dataset(
    dataset_id: DatasetKey,
    edit: DatasetEdit,
    session: Writing,
    artifacts: ArtifactsDep,
    if_match: IfMatch = None,
) -> Response:
    row = queries.get(session, dataset_id, lock=True)
    return apply_edit(session, row, edit, if_match=if_match, describe=lambda: describe(row, artifacts))


@router.delete(
    "/{dataset_id}",
    dependencies=[ADMIN],
    status_code=204,
    summary="Delete a data set and its files",
    responses=problems(404, 409),
)
def delete_dataset(dataset_id: DatasetKey, session: Writing, discard: DiscardDep) -> None:
    discard(session, queries.delete(session, dataset_id))


@router.get(
    "/{dataset_id}/report",
    dependencies=[READER],
    summary="Get the import's full report: every rejected file, every duplicate",
    response_model=FullReport,
    responses=NOT_MODIFIED | problems(404, 409),
)
def get_import_report(request: Request, row: LoadedDataset, artifacts: ArtifactsDep) -> Response:
    file = report_file(row, artifacts)
    if file is None:
        raise NotReported(f"data set {row.id} is {row.state.value}, and its import has not written a report")
    return send_file(request, file, media_type="application/json")


@router.get(
    "/{dataset_id}/download",
    dependencies=[READER],
    summary="Download a data set as a zip that can be uploaded again",
    response_class=StreamingResponse,
    responses=sends(ZIP) | NOT_MODIFIED | problems(404, 409),
)
def download_dataset(request: Request, row: LoadedDataset, stores: StoresDep) -> Response:
    """The images as they were uploaded, under their paths, with `labels.csv` (class, split, group, subject,
    metadata) and `classes.txt`. Uploaded again, it is the same data set."""
    etag = f'"{row.id}.zip"'  # the samples of a data set never change
    headers = {"ETag": etag, "Accept-Ranges": "none", "Cache-Control": "private, no-cache"}
    store = samples.open_store(stores, row)
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = attachment(f"{row.name}.zip")
    return StreamingResponse(download(store), headers=headers, media_type=ZIP)


@router.get(
    "/{dataset_id}/samples",
    dependencies=[READER],
    summary="List samples by number",
    response_model=Page[Sample],
    responses=sends(CSV, description="A page; with `Accept: text/csv` all that pass the filters, as a file.")
    | NOT_MODIFIED
    | problems(404, 409, 422),
    openapi_extra=SAMPLE_METADATA_FILTER,
)
def list_samples(
    request: Request,
    row: LoadedDataset,
    stores: StoresDep,
    metadata: MetadataPairs,
    inferred: InferredDep,
    patterns: PatternFiltersDep,
    split: Annotated[Split | None, Query(description="Only samples of this split.")] = None,
    label: Annotated[
        str | None, Query(max_length=200, description="Only samples of this class, by name.")
    ] = None,
    group: Annotated[
        str | None, Query(max_length=400, description="Only samples of this group, by name.")
    ] = None,
    subject: Annotated[str | None, Query(description="Only samples of this subject, by name.")] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Only samples with this text in their path, their subject or a text of their "
            "metadata, in upper or lower case.",
        ),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    filters = SampleFilters(split, label, group, subject, metadata, q, patterns)
    store, vary = samples.open_store(stores, row), {"Vary": "Accept"}
    if preferred(request.headers.get("accept", ""), (JSON, CSV)) == CSV:
        headers = vary | {"Content-Disposition": attachment(f"{row.name}.csv")}
        file = samples.table(store, filters, inferred)
        return StreamingResponse(file, headers=headers, media_type=f"{CSV}; charset=utf-8")
    page = samples.listing(store, filters, cursor=cursor, limit=limit, inferred=inferred)
    return conditional(request, page, headers=vary)


@router.get(
    "/{dataset_id}/samples/{sample}",
    dependencies=[READER],
    summary="Get a sample",
    response_model=Sample,
    responses=NOT_MODIFIED | problems(404, 409, 422),
)
def get_sample(
    request: Request, row: LoadedDataset, sample: SampleNumber, stores: StoresDep, inferred: InferredDep
) -> Response:
    return conditional(request, samples.describe(samples.open_store(stores, row), sample, inferred))


@router.get(
    "/{dataset_id}/samples/{sample}/image",
    dependencies=[READER],
    summary="Get the image file as it was uploaded, or as PNG",
    response_class=Response,
    responses=sends("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
    | NOT_MODIFIED
    | problems(404, 409, 422, 503),
)
async def get_sample_image(
    request: Request,
    row: LoadedDataset,
    sample: SampleNumber,
    stores: StoresDep,
    pictures: PicturesDep,
    format: Annotated[
        Literal["png"] | None,
        Query(
            alias="as",
            description="`png`: the image as networks see it before it is resized: upright, its grey levels "
            "in the data set's window.",
        ),
    ] = None,
    side: Annotated[
        int | None,
        Query(ge=16, le=4096, description="Most pixels on the longer side of a PNG; by default all."),
    ] = None,
) -> Response:
    if format is None:
        if side is not None:
            raise InvalidInput.field("?side", "not-used", "only a PNG is scaled down: send as=png too")
        return await run_in_threadpool(_stored_file, request, row, sample, stores)
    store = await run_in_threadpool(samples.open_store, stores, row)
    file = samples.describe(store, sample).sha256
    etag = etag_of(f"{file} {store.info.grey_window} {side}".encode())  # an equal image is not decoded again
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    return Response(await pictures.draw(store, sample, side), headers=headers, media_type="image/png")


def _stored_file(request: Request, row: DatasetRow, sample: int, stores: Stores) -> Response:
    content, kind = samples.image(samples.open_store(stores, row), sample)
    return conditional(request, content, media_type=kind)
