"""Uploads: forms with a file are passed on to the API; an image to try a model on is kept for its page."""

from __future__ import annotations

from typing import Literal

import httpx2
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from masktune import ClientError, Unreachable
from masktune.client.client import TIMEOUT
from masktune.client.transfers import STORED_SECONDS
from masktune.contract.report.text.formats import byte_size
from web.transport.connection import api_for, missing_scope
from web.transport.dropped_images import LARGEST_IMAGE, SECONDS, ImageTooLarge, TooManyImages, dropped_images
from web.transport.errors import refusal, refused

router = APIRouter(prefix="/upload", include_in_schema=False)

_PASSED = ("content-type", "content-length")


@router.post("/image")
async def upload_image(request: Request, filename: str = "image") -> Response:
    """Keep an image until the page on which it was dropped asks for it."""
    try:
        key = await api_for(request).keys.whoami()
    except ClientError as error:
        return refusal(error)
    if not key.may("predict"):
        return refused(403, missing_scope(key, "predict"))
    try:
        token = await dropped_images.receive(filename, request.stream())
    except ImageTooLarge:
        return refused(413, f"This image is too large: the limit is {byte_size(LARGEST_IMAGE)}.")
    except TooManyImages:
        return refused(503, "Too many images are being sent at this moment. Drop it again in a minute.")
    except TimeoutError:
        return refused(408, f"The image took longer than {SECONDS:.0f} s to arrive. Drop it again.")
    except ClientDisconnect:
        return Response(status_code=400)  # which nobody reads
    return JSONResponse({"token": token})


@router.post("/{kind}")
async def upload(request: Request, kind: Literal["datasets", "models"]) -> Response:
    """Pass a form with its file on to the API while it arrives, and the API's answer back."""
    body = request.stream()
    try:
        answer = await api_for(request).driver.http.post(
            f"/{kind}",
            content=body,
            headers={name: request.headers[name] for name in _PASSED if name in request.headers},
            timeout=httpx2.Timeout(TIMEOUT, read=STORED_SECONDS),
        )
        async for _ in body:  # a browser reads the answer to a refused file only once it has sent all of it
            pass
    except httpx2.TransportError as error:
        return refusal(Unreachable(str(error)))
    except ClientDisconnect:
        return Response(status_code=400)  # which nobody reads
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
