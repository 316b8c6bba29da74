"""Routes that are not pages: images and downloads fetched with the visitor's key, and setting the key."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import FileResponse, RedirectResponse
from starlette.background import BackgroundTask

from masktune import ClientError, PredictJob
from masktune.client.predict import View
from web.shell import instead, wants_a_page
from web.transport.connection import KEY_COOKIE, UNSENDABLE, api_for, here, is_sendable
from web.transport.disk_quota import PREFIX
from web.transport.refusals import refusal

router = APIRouter(include_in_schema=False)

FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}
"""For responses that never change: a sample's image, and a model's saliency map of it."""


# --- the key -----------------------------------------------------------------------------------


@router.post("/key")
async def set_key(
    request: Request, key: Annotated[str, Form()] = "", next: Annotated[str, Form()] = ""
) -> Response:
    """Store the key in a cookie, or delete it, then redirect to the page that the visitor wanted.

    A key that cannot be sent in a header is not stored: the target page says so at its key form.
    """
    home = here("/", request)
    target = next if next.startswith(home) and "//" not in next else home
    if not is_sendable(key.strip()):
        return RedirectResponse(f"{target}{'&' if '?' in target else '?'}{UNSENDABLE}", status_code=303)
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


# --- passed on ---------------------------------------------------------------------------------


@router.get("/files/datasets/{dataset}/samples/{sample}/image")
async def sample_image(request: Request, dataset: str, sample: int) -> Response:
    try:
        data = await api_for(request).datasets.image(dataset, sample)
    except ClientError as error:
        return refusal(error)
    return Response(data, media_type=media_type(data), headers=FOREVER)


@router.get("/files/saliency")
async def saliency(
    request: Request, model: str, dataset: str, sample: int, view: View = "overlay"
) -> Response:
    """A view of a stored sample's saliency map as a PNG."""
    try:
        data = await api_for(request).saliency.sample_picture(
            model=model, dataset=dataset, sample=sample, view=view
        )
    except ClientError as error:
        return refusal(error)
    return Response(data, media_type="image/png", headers=FOREVER)


@router.get("/files/jobs/{job}/report")
async def report_page(request: Request, job: str) -> Response:
    """The report as the self-contained HTML page that the API generates."""
    try:
        text = await api_for(request).jobs.report_html(job)
    except ClientError as error:
        return _instead(request, error, "/jobs")
    sealed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return Response(text, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": sealed})


@router.get("/files/jobs/{job}/predictions")
async def predictions(request: Request, job: str) -> Response:
    target = _scratch()
    try:
        api = api_for(request)
        predicted = await api.jobs.get(job)
        ending = predicted.params.output if isinstance(predicted, PredictJob) else "parquet"
        await api.jobs.predictions(job, target)
    except ClientError as error:
        target.unlink(missing_ok=True)
        return _instead(request, error, "/jobs")
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
        return _instead(request, error, "/models")
    return _once(target, f"{model}.{format}")


# --- answers -----------------------------------------------------------------------------------


def _scratch() -> Path:
    with tempfile.NamedTemporaryFile(prefix=PREFIX, delete=False) as file:
        return Path(file.name)


def _instead(request: Request, error: ClientError, place: str) -> Response:
    """The error as a page if a person followed a link, as JSON for a script."""
    return instead(request, error, place) if wants_a_page(request) else refusal(error)


def _once(path: Path, filename: str) -> Response:
    """Send the file, then delete it."""
    return FileResponse(path, filename=filename, background=BackgroundTask(path.unlink, missing_ok=True))


def media_type(data: bytes) -> str:
    """The media type according to the first bytes; unknown types are not shown as images."""
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
