"""Data sets: create them with their import job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import fingerprint
from app.datasets import sources, uploads
from app.datasets.presenter import describe
from app.http.deps import DatabaseDep, shaped_like
from app.http.responses import represent
from app.http.staged_artifact import staged_artifact
from app.http.validation import parse, parse_form
from app.jobs.service import AddDataset, JobCreation
from core.errors import InvalidInput, NotFound
from core.queries import datasets
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow
from masktune.contract.base import Json
from masktune.contract.datasets import (
    BuiltinOptions,
    FormatOptions,
    SourceRequest,
    UploadRequest,
    name_of_source,
)
from masktune.contract.hyperparameters import DatasetFormat
from masktune.contract.ids import new_id
from masktune.contract.upload_files import HEAD, file_refusal
from masktune.contract.vocabulary import DatasetState, JobKind
from models.data.formats.owner_options import SubjectPattern

_WITHOUT_LABELS = {"subject", "path", "grey_window"}
"""Options of images without labels."""


def create_from_upload(creation: JobCreation, upload: uploads.Upload, artifacts: Artifacts) -> Response:
    """Turn the upload into an artifact, a row and an import job: all three or none."""
    request = parse_fields(upload.fields)
    options = _options(FormatOptions, request.options)
    _check_without_labels(request)
    with upload.path.open("rb") as file:
        if refusal := file_refusal(file.read(HEAD), labelled=_is_labelled(request)):
            raise InvalidInput.field("/file", "not-an-archive", f"the file {refusal}")
    # Two uploads are equal if their files' bytes are, whatever the multipart boundary.
    digest = fingerprint(request, upload.sha256)
    if (answer := creation.once.stored_response(digest)) is not None:
        return answer  # saves writing a large file to the store a second time
    dataset_id = new_id("ds")
    key = f"uploads/{dataset_id}"
    with staged_artifact(creation.once.database, artifacts, key) as confirm:
        uploads.store(upload, artifacts, key)

        def make(session: Session) -> Response:
            confirm(session)
            row = add(
                creation,
                session,
                dataset_id,
                request,
                source={"upload": key},
                options=options,
                occupies=artifacts.size(key),
            )
            return represent_new(creation, row)

        return creation.once.run(digest, make)


def create_from_source(creation: JobCreation, request: SourceRequest, allowed: tuple[str, ...]) -> Response:
    """Create a data set that the worker imports from a builtin name, a data set or an address `allowed`."""
    add_dataset = from_source(creation, request, allowed)
    return creation.once.run(
        fingerprint(request), lambda session: represent_new(creation, add_dataset(session))
    )


def from_images(creation: JobCreation, source: str, name: str | None, allowed: tuple[str, ...]) -> AddDataset:
    """As `from_source`, of the images without labels at an address, by default called after it."""
    fields = {"name": name or name_of_source(source), "source": source, "format": DatasetFormat.UNLABELLED}
    return from_source(creation, parse(SourceRequest, fields), allowed)


def from_source(creation: JobCreation, request: SourceRequest, allowed: tuple[str, ...]) -> AddDataset:
    """Check the source; return what adds the data set and its import job. Raises `InvalidInput`."""
    source = sources.resolve(request.source, allowed)
    kind = BuiltinOptions if "builtin" in source else FormatOptions
    if "address" not in source and request.format is not DatasetFormat.AUTO:
        raise InvalidInput.field(
            "/format", "not-applicable", "only files have a format; leave it out for this source"
        )
    options = _options(kind, request.options)

    def add_dataset(session: Session) -> DatasetRow:
        unlabelled = "dataset" in source and not _ready(session, source["dataset"]).labelled
        read_as = request.model_copy(update={"format": DatasetFormat.UNLABELLED}) if unlabelled else request
        _check_without_labels(read_as)
        return add(creation, session, new_id("ds"), read_as, source=source, options=options)

    return add_dataset


def parse_fields(fields: Mapping[str, str]) -> UploadRequest:
    """Parse the form's fields; `options` and `metadata` are JSON and `seed` a decimal integer."""
    return parse_form(UploadRequest, fields, {"options": json.loads, "metadata": json.loads, "seed": int})


def _options(kind: type[FormatOptions | BuiltinOptions], options: Json) -> Json:
    """Validate the options here rather than in the import, and fill in the defaults."""
    parsed = parse(kind, options, prefix="/options")
    if isinstance(parsed, FormatOptions) and parsed.subject is not None:
        try:
            SubjectPattern(parsed.subject)
        except ValueError as error:
            raise InvalidInput.field("/options/subject", "invalid-pattern", str(error)) from error
    return parsed.model_dump(mode="json")


def _is_labelled(request: UploadRequest) -> bool:
    return request.format is not DatasetFormat.UNLABELLED


def _check_without_labels(request: UploadRequest) -> None:
    """Raise `InvalidInput` for images without labels and an option on labels, splits or groups."""
    unusable = [] if _is_labelled(request) else sorted(request.options.keys() - _WITHOUT_LABELS)
    if unusable:
        raise InvalidInput.field(
            f"/options/{unusable[0]}",
            "not-applicable",
            "images without labels have neither classes nor splits nor groups; leave it out",
        )


def _ready(session: Session, dataset_id: str) -> DatasetRow:
    """Raises `InvalidInput` for a data set that is not there, `DatasetNotReady`."""
    try:
        return datasets.get_ready(session, dataset_id)
    except NotFound as error:
        raise InvalidInput.field("/source", "not-found", str(error)) from error


def add(
    creation: JobCreation,
    session: Session,
    dataset_id: str,
    request: UploadRequest,
    *,
    source: dict[str, str],
    options: Json,
    occupies: int | None = None,
) -> DatasetRow:
    """Add the row and its import job."""
    params: Json = {"format": request.format, "options": options, "seed": request.seed}
    job = creation.add(session, JobKind.IMPORT, dataset_id, params=params, inputs={})
    return datasets.add(
        session,
        DatasetRow(
            id=dataset_id,
            name=request.name,
            state=DatasetState.IMPORTING,
            format=request.format,
            source=source,
            options=options,
            labelled=_is_labelled(request),
            job_id=job.id,
            occupies=occupies,
            user_metadata=request.metadata,
            created_by=creation.once.caller,
        ),
    )


def represent_new(creation: JobCreation, row: DatasetRow) -> Response:
    """Answer 202 with the data set."""
    dataset = describe(row)
    return represent(dataset, status=202, headers={"Location": f"{creation.root_path}/datasets/{row.id}"})


DatasetKey = Annotated[
    str,
    Path(description="Id of a data set.", examples=["ds_06d4k3w8s0q6v7yx3n5m9a1b2c"]),
    shaped_like("ds", "data set", "/datasets"),
]


def _dataset(dataset_id: DatasetKey, database: DatabaseDep) -> DatasetRow:
    with database.read() as session:
        return datasets.get(session, dataset_id)


LoadedDataset = Annotated[DatasetRow, Depends(_dataset)]
