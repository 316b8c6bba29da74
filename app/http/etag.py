"""A resource as bytes with a strong ETag, or 304 if the client already has those bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from core.errors import PreconditionFailed

JSON = "application/json"
IfMatch = Annotated[str | None, Header(alias="If-Match", description="ETag that it must still have.")]


def etag_of(body: bytes) -> str:
    """Return a strong validator: a digest of the representation."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match or If-Match header names this ETag (RFC 9110, 13.1; weak comparison)."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def require_match(if_match: str | None, describe: Callable[[], BaseModel], changed: str) -> None:
    """Raise `PreconditionFailed` unless If-Match is absent or names the resource's ETag (RFC 9110, 13.1.1).

    `describe` returns the resource, `changed` is the text of the error.
    """
    if if_match is not None and not matches(if_match, etag_of(describe().model_dump_json().encode())):
        raise PreconditionFailed(changed)


def represent(
    resource: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the resource as JSON with its ETag, for responses to POST, PUT and the like."""
    body = resource.model_dump_json().encode()
    return Response(
        body, status_code=status, headers={"ETag": etag_of(body), **(headers or {})}, media_type=JSON
    )


def conditional(
    request: Request,
    resource: BaseModel | bytes,
    *,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer a GET with the representation, or with 304 if If-None-Match names it."""
    body = resource if isinstance(resource, bytes) else resource.model_dump_json().encode()
    etag = etag_of(body)
    # A private cache may store it but must revalidate it each time.
    extra = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=extra)
    return Response(body, headers=extra, media_type=media_type)
