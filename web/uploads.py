"""Uploads: a body is one file and nothing else, its fields stand in the address.

So it is written to the disk once, in one piece, before it goes on to the API; a form in the body would be
taken apart into a file of its own first. Every address is asked twice: with `X-Masktune: ask` it says
whether it would take the file, so that a browser sends no gigabytes to hear that a field is wrong.
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

from client import AsyncClient, ClientError, FieldError
from web import words
from web.connection import api_for, here
from web.refusals import refusal, say
from web.room import PREFIX, room
from web.shell import told

router = APIRouter(prefix="/upload", include_in_schema=False)

LARGEST_IMAGE = 32 * 2**20
"""Bytes. The API has its own limit; this one keeps the pages' memory small."""
BLOCK = 1 << 20
"""Bytes gathered before they are written off the event loop."""
ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ALIAS_SIGNS = "Small letters, digits, dots and dashes, at most 64."


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


@dataclass(frozen=True)
class Brought:
    """What stands beside the file of a model, as the form has it."""

    backbone: str = ""
    classes: str = ""
    image_size: str = ""
    dataset: str = ""
    name: str = ""

    @property
    def named(self) -> list[str]:
        """The classes: one on a line."""
        return [line.strip() for line in self.classes.splitlines() if line.strip()]

    def faults(self) -> list[FieldError]:
        """What can be told without the API; it looks at the rest."""
        found = {
            "backbone": "" if self.backbone.strip() else "Name the network.",
            "image_size": "" if self.image_size.isdecimal() else "Give its side in pixels.",
            "classes": "" if self.dataset or len(self.named) > 1 else "Name two at least, or a data set.",
            "name": "" if not self.name.strip() or ALIAS.fullmatch(self.name.strip()) else ALIAS_SIGNS,
        }
        return [FieldError(f"/{name}", "invalid", detail) for name, detail in found.items() if detail]


@router.post("/dataset")
async def upload_dataset(
    request: Request, filename: str = "", size: int = 0, name: str = "", format: str = "auto"
) -> Response:
    """Take an archive in and send it on; the answer says where its page is."""
    api = api_for(request)
    refused = await _may_upload(request, api, size, "max_upload_bytes") or _asked(request)
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
    """Take weights in, send them on, give the model its name; the answer says where its page is."""
    api, brought = api_for(request), Brought(backbone, classes, image_size, dataset, name)
    faults = brought.faults()
    refused = await _may_upload(request, api, size, "max_upload_bytes")
    if refused is None and faults:
        refused = say(422, "Fill in what is marked.", faults)
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
            return say(409, f"The model is here as {made.id}, without its name. {told(error)[1]}")
    return JSONResponse({"id": made.id, "next": here(f"/models/{made.id}", request)})


@router.post("/image")
async def upload_image(request: Request, filename: str = "", size: int = 0) -> Response:
    """Keep an image until the page that it was dropped on asks for it."""
    too_large = say(413, f"This image is too large: at most {words.size(LARGEST_IMAGE)}.")
    if _declared(request, size) > LARGEST_IMAGE:
        return too_large
    refused = await _may_upload(request, api_for(request), size, "max_image_bytes") or _asked(request)
    if refused is not None:
        return refused
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_IMAGE:
            return too_large
    return JSONResponse({"token": shelf.put(Dropped(filename or "image", bytes(data)))})


async def largest(api: AsyncClient) -> int:
    """Bytes of the largest file that both the API and this dashboard have room for."""
    return min((await api.limits()).max_upload_bytes, room.free)


async def _may_upload(
    request: Request, api: AsyncClient, size: int, limit: Literal["max_upload_bytes", "max_image_bytes"]
) -> Response | None:
    """Before a byte of the file is taken: our own page, a key that is known, room for it, not too large?"""
    if request.headers.get("x-masktune") not in ("ask", "upload"):
        return say(403, "Uploads come from this dashboard's own pages.")
    size = _declared(request, size)
    free = room.free
    if size > free:
        return say(
            507, f"This file has {words.size(size)}, and the dashboard has room for {words.size(free)} only."
        )
    try:
        async for _ in api.datasets.list(limit=1):
            break
        most: int = getattr(await api.limits(), limit)
    except ClientError as error:
        return refusal(error)
    if size > most:
        return say(
            413, f"This file has {words.size(size)}, and the service takes {words.size(most)} at most."
        )
    return None


def _declared(request: Request, size: int) -> int:
    """Bytes of the file: as the page says when it asks, as the header says when it sends."""
    length = request.headers.get("content-length", "")
    return max(size, int(length) if length.isdecimal() else 0)


def _asked(request: Request) -> Response | None:
    """The answer to who only asked whether the file would be taken: yes."""
    return Response(status_code=204) if request.headers["x-masktune"] == "ask" else None


@asynccontextmanager
async def _received(request: Request, filename: str) -> AsyncIterator[Path]:
    """The body as a file of that name; gone behind the block, whatever happens."""
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
    """A file's name without a path; its ending tells the service what the archive is."""
    name = Path(filename.replace("\\", "/")).name[-200:]
    return name if name.strip(". ") else "upload"
