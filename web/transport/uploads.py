"""Uploads: forms with a file are passed on to the API; an image to try a model on is kept for its page."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from masktune import ClientError, Unreachable
from masktune.client.client import TIMEOUT
from masktune.client.uploads import STORED_SECONDS
from masktune.contract.report.text.formats import byte_size
from web.transport.connection import api_for, missing_scope
from web.transport.refusals import refusal, refused

router = APIRouter(prefix="/upload", include_in_schema=False)

LARGEST_IMAGE = 32 * 2**20
"""Bytes. The API has its own limit; this one bounds the memory of the dashboard."""
_PASSED = ("content-type", "content-length")


@dataclass(frozen=True)
class DroppedImage:
    """An image that a visitor dropped to try a model on."""

    name: str
    content: bytes


class ImageBuffer:
    """The most recently dropped images, kept in memory until their page asks for them."""

    def __init__(self, capacity: int = 32) -> None:
        self._capacity = capacity
        self._images: OrderedDict[str, DroppedImage] = OrderedDict()

    def put(self, image: DroppedImage) -> str:
        """Keep the image under an unguessable token."""
        token = uuid.uuid4().hex
        self._images[token] = image
        while len(self._images) > self._capacity:
            self._images.popitem(last=False)
        return token

    def take(self, token: str) -> DroppedImage | None:
        return self._images.pop(token, None)


dropped_images = ImageBuffer()


@router.post("/image")
async def upload_image(request: Request, filename: str = "image") -> Response:
    """Keep an image until the page on which it was dropped asks for it."""
    try:
        key = await api_for(request).keys.whoami()
    except ClientError as error:
        return refusal(error)
    if not key.may("predict"):
        return refused(403, missing_scope(key, "predict"))
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > LARGEST_IMAGE:
            return refused(413, f"This image is too large: the limit is {byte_size(LARGEST_IMAGE)}.")
    return JSONResponse({"token": dropped_images.put(DroppedImage(filename, bytes(content)))})


@router.post("/{kind}")
async def upload(request: Request, kind: Literal["datasets", "models"]) -> Response:
    """Pass a form with its file on to the API while it arrives, and the API's answer back."""
    body = request.stream()
    try:
        answer = await api_for(request).driver.http.post(
            f"/{kind}",
            content=body,
            headers={name: request.headers[name] for name in _PASSED if name in request.headers},
            timeout=httpx.Timeout(TIMEOUT.write, read=STORED_SECONDS),
        )
        async for _ in body:  # a browser reads the answer to a refused file only once it has sent all of it
            pass
    except httpx.TransportError as error:
        return refusal(Unreachable(str(error)))
    except ClientDisconnect:
        return Response(status_code=400)  # which nobody reads
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
