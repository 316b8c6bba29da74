"""Uploads: the body is the file alone; the form's fields are in the query.

The file is therefore written to disk only once before it is sent on to the API; a multipart form would be
parsed into a temporary file of its own first. The browser first sends each request without the file and with
`X-Masktune: ask` to learn whether the upload would be accepted, so that it never sends gigabytes only to
learn that a field is wrong.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from masktune import AsyncClient, ClientError, FieldError
from web.shell import told
from web.text import labels as words
from web.transport.connection import api_for, here, lacking, own_key
from web.transport.disk_quota import PREFIX, room
from web.transport.refusals import refusal, say

router = APIRouter(prefix="/upload", include_in_schema=False)

LARGEST_IMAGE = 32 * 2**20
"""Bytes. The API has its own limit; this one bounds the memory of the dashboard."""
BLOCK = 1 << 20
"""Bytes collected before they are written to disk on a thread."""
ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ALIAS_SCOPE = "An alias needs a key with the scope admin: leave this empty."
ALIAS_SIGNS = "Up to 64 lower-case letters, digits, dots, dashes and underscores; a letter or digit first."


@dataclass(frozen=True)
class Dropped:
    """An image that a visitor dropped to try a model on."""

    name: str
    data: bytes


class Shelf:
    """The most recently dropped images, kept in memory until their page asks for them."""

    def __init__(self, room: int = 32) -> None:
        self._room = room
        self._held: OrderedDict[str, Dropped] = OrderedDict()

    def put(self, image: Dropped) -> str:
        """Keep the image under an unguessable token."""
        token = uuid.uuid4().hex
        self._held[token] = image
        while len(self._held) > self._room:
            self._held.popitem(last=False)
        return token

    def take(self, token: str) -> Dropped | None:
        return self._held.pop(token, None)


shelf = Shelf()


@dataclass(frozen=True)
class Brought:
    """The form's fields for importing a model file."""

    backbone: str = ""
    classes: str = ""
    image_size: str = ""
    dataset: str = ""
    name: str = ""

    @property
    def named(self) -> list[str]:
        """The classes, one per line."""
        return [line.strip() for line in self.classes.splitlines() if line.strip()]

    def faults(self) -> list[FieldError]:
        """Faults that can be found without the API, which checks the rest."""
        found = {
            "backbone": "" if self.backbone.strip() else "Enter the name of the network.",
            "image_size": "" if self.image_size.isdecimal() else "Enter the image size in pixels.",
            "classes": ""
            if self.dataset or len(self.named) > 1
            else "Enter at least two, or choose a data set.",
            "name": "" if not self.name.strip() or ALIAS.fullmatch(self.name.strip()) else ALIAS_SIGNS,
        }
        return [FieldError(f"/{name}", "invalid", detail) for name, detail in found.items() if detail]


@router.post("/dataset")
async def upload_dataset(
    request: Request, filename: str = "", size: int = 0, name: str = "", format: str = "auto"
) -> Response:
    """Receive an archive and send it to the API. The answer has the address of its page."""
    api = api_for(request)
    refused = await _may_upload(request, api, size, "max_upload_bytes", "train") or _asked(request)
    if refused is not None:
        return refused
    async with _received(request, filename) as path:
        try:
            made = await api.datasets.upload(path, name=name.strip() or None, format=format)
        except ClientError as error:
            return refusal(error)
    return JSONResponse({"id": made.id, "next": here(f"/datasets/{made.id}", request)})


@router.post("/model")
async def upload_model(
    request: Request,
    filename: str = "",
    size: int = 0,
    backbone: str = "",
    classes: str = "",
    image_size: str = "",
    dataset: str = "",
    name: str = "",
) -> Response:
    """Receive weights, send them to the API, set the alias. The answer has the model page's address."""
    api, brought = api_for(request), Brought(backbone, classes, image_size, dataset, name)
    refused = await _may_upload(request, api, size, "max_upload_bytes", "train")
    if refused is None and (faults := brought.faults() or await _alias_faults(api, name)):
        refused = say(422, "Correct the marked fields.", faults)
    refused = refused or _asked(request)
    if refused is not None:
        return refused
    try:
        named = brought.named or (await api.datasets.get(dataset)).classes
        async with _received(request, filename) as path:
            made = await api.models.import_(
                path,
                backbone=backbone.strip(),
                classes=named,
                image_size=int(image_size),
                dataset=dataset or None,
            )
    except ClientError as error:
        return refusal(error)
    if name.strip():
        try:
            await api.models.set_alias(name.strip(), made.id)
        except ClientError as error:
            return say(
                409, f"The model was imported as {made.id}, but its alias was not set. {told(error)[1]}"
            )
    return JSONResponse({"id": made.id, "next": here(f"/models/{made.id}", request)})


@router.post("/image")
async def upload_image(request: Request, filename: str = "", size: int = 0) -> Response:
    """Keep an image until the page on which it was dropped asks for it."""
    too_large = say(413, f"This image is too large: the limit is {words.size(LARGEST_IMAGE)}.")
    if _declared(request, size) > LARGEST_IMAGE:
        return too_large
    api = api_for(request)
    refused = await _may_upload(request, api, size, "max_image_bytes", "predict") or _asked(request)
    if refused is not None:
        return refused
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_IMAGE:
            return too_large
    return JSONResponse({"token": shelf.put(Dropped(filename or "image", bytes(data)))})


async def largest(api: AsyncClient) -> int:
    """Bytes of the largest file that both the API and this dashboard accept."""
    return min((await api.limits()).max_upload_bytes, room.free)


async def _may_upload(
    request: Request,
    api: AsyncClient,
    size: int,
    limit: Literal["max_upload_bytes", "max_image_bytes"],
    scope: Literal["train", "predict"],
) -> Response | None:
    """Checks before any byte of the file is accepted: own page, scope of the key, disk space, size limit.

    Returns the refusal, or None.
    """
    if request.headers.get("x-masktune") not in ("ask", "upload"):
        return say(403, "Uploads are accepted only from this dashboard's own pages.")
    size = _declared(request, size)
    free = room.free
    if size > free:
        return say(
            507, f"This file has {words.size(size)}, but the dashboard has room for only {words.size(free)}."
        )
    try:
        own = await own_key(api)
        most: int = getattr(await api.limits(), limit)
    except ClientError as error:
        return refusal(error)
    if not own.may(scope):
        return say(403, lacking(own, scope))
    if size > most:
        return say(
            413, f"This file has {words.size(size)}, but the service accepts at most {words.size(most)}."
        )
    return None


async def _alias_faults(api: AsyncClient, name: str) -> list[FieldError]:
    """Check the key's scope for the alias up front: the alias itself is set only after the import."""
    try:
        refused = bool(name.strip()) and not (await own_key(api)).may("admin")
    except ClientError:  # the import will raise and report the same error
        refused = False
    return [FieldError("/name", "forbidden", ALIAS_SCOPE)] if refused else []


def _declared(request: Request, size: int) -> int:
    """Size of the file in bytes: from the query for an `ask` request, from Content-Length for an upload."""
    length = request.headers.get("content-length", "")
    return max(size, int(length) if length.isdecimal() else 0)


def _asked(request: Request) -> Response | None:
    """The positive answer (204) to an `ask` request; None for an upload."""
    return Response(status_code=204) if request.headers["x-masktune"] == "ask" else None


@asynccontextmanager
async def _received(request: Request, filename: str) -> AsyncIterator[Path]:
    """Write the body to a file of that name, which is removed when the block ends, whatever happens."""
    with room.holding(_declared(request, 0)), tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        path, gathered = Path(folder) / harmless_name(filename), bytearray()
        with path.open("wb") as target:
            async for chunk in request.stream():
                gathered += chunk
                if len(gathered) >= BLOCK:
                    await asyncio.to_thread(target.write, bytes(gathered))
                    gathered.clear()
            await asyncio.to_thread(target.write, bytes(gathered))
        yield path


def harmless_name(filename: str) -> str:
    """The file's name without its path; its extension tells the service the archive format."""
    name = Path(filename.replace("\\", "/")).name[-200:]
    return name if name.strip(". ") else "upload"
