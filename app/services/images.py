"""The images of a request: of a multipart body, of a raw body, or a stored sample."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.orm import Session
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from app.inference import Upload
from app.services.stores import Stores
from core.artifacts import ArtifactMissing
from core.errors import BadImage, FieldError, InvalidInput, NotFound, UnsupportedMedia, WrongDataset
from core.ids import is_id
from core.queries import datasets
from core.session import Database
from core.settings import Settings
from core.tables import DatasetRow, ModelRow
from models.data.report import FileCode
from models.data.store import StoreError

RAW = ("image/", "application/octet-stream")
MULTIPART = "multipart/form-data"


async def received(request: Request, settings: Settings) -> list[Upload]:
    """The images of the body, in order. `UnsupportedMedia` or `InvalidInput` for any other body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        async with _form(request, settings.max_images_per_request) as form:
            return await _files(form, settings.max_image_bytes)
    if not kind.startswith(RAW):
        raise UnsupportedMedia(
            f"send one image as the body with its type as Content-Type, or several as {MULTIPART}"
        )
    data = await _body(request)
    if not data:
        raise InvalidInput.field("/", "missing", "the body is empty; send an image")
    return [Upload(data, media_type=kind)]


def stored(session: Session, stores: Stores, model: ModelRow, dataset_id: str, sample: int) -> Upload:
    """A sample of a data set as it was uploaded. `NotFound`, or `WrongDataset` where the classes differ."""
    if not is_id(dataset_id, "ds"):
        raise NotFound("there is no such data set; GET /datasets lists what there is")
    dataset = datasets.get_ready(session, dataset_id)
    if list(dataset.classes) != list(model.classes):
        raise WrongDataset(
            f"model {model.id} knows the classes {_few(model.classes)}, and data set {dataset_id} has "
            f"{_few(dataset.classes)}; take a model of this data set",
            errors=(FieldError("?dataset", "model-of-another-dataset", "its classes are not the model's"),),
        )
    assert dataset.artifact is not None
    store = stores.open(dataset.artifact)
    if sample >= len(store):
        raise NotFound(f"data set {dataset_id} has no sample {sample}: they go from 0 to {len(store) - 1}")
    return Upload(store.image_bytes(sample))


def of_model(database: Database, stores: Stores, model_id: str, count: int) -> list[bytes]:
    """Up to `count` images of the data set that the model was trained on, spread evenly over it."""
    with database.read() as session:
        model = session.get(ModelRow, model_id)
        dataset = session.get(DatasetRow, model.dataset_id) if model and model.dataset_id else None
    if dataset is None or dataset.artifact is None:
        return []
    try:
        store = stores.open(dataset.artifact)
    except (ArtifactMissing, StoreError):  # deleted meanwhile
        return []
    step = max(1, len(store) // count)
    return [store.image_bytes(row) for row in range(0, len(store), step)[:count]]


async def _body(request: Request) -> bytes:
    """All of it. Starlette's `body` goes by an asynchronous generator, which costs ten times as much."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@asynccontextmanager
async def _form(request: Request, at_most: int) -> AsyncIterator[FormData]:
    try:
        form = await request.form(max_files=at_most, max_fields=16)
    except HTTPException as error:  # Starlette's word for a body that cannot be read
        raise InvalidInput.field(
            "/", "malformed-multipart", f"{error.detail}; send at most {at_most} images as {MULTIPART}"
        ) from error
    try:
        yield form
    finally:
        await form.close()


async def _files(form: FormData, max_bytes: int) -> list[Upload]:
    """All of them, read into memory once each is known to be no larger than an image may be."""
    files: list[UploadFile] = []
    for name, part in form.multi_items():
        if not isinstance(part, UploadFile):
            raise InvalidInput.field(
                f"/{name}", "not-a-file", f"{name} is no file; everything but images goes into the query"
            )
        files.append(part)
    if not files:
        raise InvalidInput.field("/file", "missing", "there is no image in the body; send at least one")
    faults = tuple(
        FieldError(
            f"/images/{number}",
            FileCode.TOO_LARGE,
            f"image {number + 1} ({part.filename}) has {part.size} bytes, at most {max_bytes} are accepted: "
            "shrink it",
        )
        for number, part in enumerate(files)
        if part.size is not None and part.size > max_bytes
    )
    if faults:
        raise BadImage("; ".join(fault.detail for fault in faults[:3]), errors=faults)
    return [Upload(await part.read(), name=part.filename) for part in files]


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
