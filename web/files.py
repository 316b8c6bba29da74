"""What is no page: pictures and downloads of the API with the visitor's key, uploads, the key itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile

from client import AsyncClient, ClientError, ProblemError
from client.predict import View
from web.connection import KEY_COOKIE, api_for, here
from web.shell import told

router = APIRouter(include_in_schema=False)

FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}
"""A sample's image never changes, nor does a model's map of it."""
LARGEST_IMAGE = 32 * 2**20
"""Bytes. The API has its own limit; this one keeps the pages' memory small."""


@dataclass(frozen=True)
class Dropped:
    """An image that somebody wants to try."""

    name: str
    data: bytes


class Shelf:
    """The last few images that were dropped, until their page asks for them. In memory alone."""

    def __init__(self, room: int = 32) -> None:
        self._room = room
        self._held: OrderedDict[str, Dropped] = OrderedDict()

    def put(self, image: Dropped) -> str:
        """Keep it, and give it a name that cannot be guessed."""
        token = uuid.uuid4().hex
        self._held[token] = image
        while len(self._held) > self._room:
            self._held.popitem(last=False)
        return token

    def take(self, token: str) -> Dropped | None:
        return self._held.pop(token, None)


shelf = Shelf()


# --- the key -----------------------------------------------------------------------------------


@router.post("/key")
async def set_key(
    request: Request, key: Annotated[str, Form()] = "", next: Annotated[str, Form()] = ""
) -> Response:
    """Keep the key in this browser, or forget it; then go where the visitor wanted to."""
    home = here("/", request)
    target = next if next.startswith(home) and "//" not in next else home
    response = RedirectResponse(target, status_code=303)
    path = here("", request) or "/"
    if key.strip():
        secure = request.url.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            KEY_COOKIE, key.strip(), path=path, httponly=True, samesite="strict", secure=secure
        )
    else:
        response.delete_cookie(KEY_COOKIE, path=path)
    return response


# --- handed on ---------------------------------------------------------------------------------


@router.get("/files/datasets/{dataset}/samples/{sample}/image")
async def sample_image(request: Request, dataset: str, sample: int) -> Response:
    try:
        data = await api_for(request).datasets.image(dataset, sample)
    except ClientError as error:
        return _refused(error)
    return Response(data, media_type=media_type(data), headers=FOREVER)


@router.get("/files/saliency")
async def saliency(
    request: Request, model: str, dataset: str, sample: int, view: View = "overlay"
) -> Response:
    """Where a model looks in a stored image, as a PNG."""
    try:
        data = await api_for(request).saliency.sample_picture(
            model=model, dataset=dataset, sample=sample, view=view
        )
    except ClientError as error:
        return _refused(error)
    return Response(data, media_type="image/png", headers=FOREVER)


@router.get("/files/jobs/{job}/report")
async def report_page(request: Request, job: str) -> Response:
    """The report as the one self-contained page that the API makes."""
    try:
        text = await api_for(request).jobs.report_html(job)
    except ClientError as error:
        return _refused(error)
    sealed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return Response(text, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": sealed})


@router.get("/files/jobs/{job}/predictions")
async def predictions(request: Request, job: str) -> Response:
    target = _scratch()
    try:
        api = api_for(request)
        ending = str((await api.jobs.get(job)).params.get("output", "parquet"))
        await api.jobs.predictions(job, target)
    except ClientError as error:
        target.unlink(missing_ok=True)
        return _refused(error)
    return _once(target, f"{job}.{ending}")


@router.get("/files/models/{model}/download")
async def download(
    request: Request, model: str, format: Literal["safetensors", "onnx"] = "safetensors"
) -> Response:
    target = _scratch()
    try:
        await api_for(request).models.download(model, target, format=format)
    except ClientError as error:
        target.unlink(missing_ok=True)
        return _refused(error)
    return _once(target, f"{model}.{format}")


# --- uploads -----------------------------------------------------------------------------------


@router.post("/upload/dataset")
async def upload_dataset(request: Request) -> Response:
    """Take an archive in and send it on; the answer says where its page is."""
    api = api_for(request)
    refused = await _may_upload(request, api)
    if refused is not None:
        return refused
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.filename:
            return _say(422, "Choose an archive: zip, tar, tar.gz or tar.zst.")
        with tempfile.TemporaryDirectory(prefix="masktune-web-") as folder:
            path = Path(folder) / harmless_name(file.filename)
            await asyncio.to_thread(_save, file.file, path)
            name = str(form.get("name") or "").strip() or path.name.partition(".")[0]
            try:
                made = await api.datasets.upload(path, name=name, format=str(form.get("format") or "auto"))
            except ClientError as error:
                return _refused(error)
    return JSONResponse({"id": made.id, "next": here(f"/datasets/{made.id}", request)})


@router.post("/upload/image")
async def upload_image(request: Request) -> Response:
    """Keep an image until the page that it was dropped on asks for it."""
    refused = await _may_upload(request, api_for(request))
    if refused is not None:
        return refused
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared) > LARGEST_IMAGE:
        return _say(413, "This image is too large: at most 32 MB.")
    async with request.form() as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            return _say(422, "Choose an image.")
        token = shelf.put(Dropped(file.filename or "image", await file.read()))
    return JSONResponse({"token": token})


async def _may_upload(request: Request, api: AsyncClient) -> Response | None:
    """Before a byte of the body is taken: does it come from our pages, and is the key known?"""
    if request.headers.get("x-masktune") != "upload":
        return _say(403, "Uploads come from this dashboard's own pages.")
    try:
        async for _ in api.datasets.list(limit=1):
            break
    except ClientError as error:
        return _refused(error)
    return None


# --- answers -----------------------------------------------------------------------------------


def _save(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _refused(error: ClientError) -> Response:
    title, detail = told(error)
    status = error.status if isinstance(error, ProblemError) else 502
    return _say(status, f"{title}: {detail}")


def _say(status: int, detail: str) -> Response:
    return JSONResponse({"status": status, "detail": detail}, status_code=status)


def _scratch() -> Path:
    with tempfile.NamedTemporaryFile(prefix="masktune-web-", delete=False) as file:
        return Path(file.name)


def _once(path: Path, filename: str) -> Response:
    """Send the file, then forget it."""
    return FileResponse(path, filename=filename, background=BackgroundTask(path.unlink, missing_ok=True))


def harmless_name(filename: str) -> str:
    """A file's name without a path; its ending tells the service what the archive is."""
    name = Path(filename.replace("\\", "/")).name[-200:]
    return name if name.strip(". ") else "upload"


def media_type(data: bytes) -> str:
    """By the first bytes; anything else is not shown as an image."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    for magic, kind in _KINDS:
        if data.startswith(magic):
            return kind
    return "application/octet-stream"


_KINDS = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
