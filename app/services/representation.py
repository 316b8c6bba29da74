"""A resource as bytes with a strong ETag, and 304 where the client has those bytes already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

JSON = "application/json"


def etag_of(body: bytes) -> str:
    """A strong validator: a digest of the representation."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match or If-Match header names this ETag (RFC 9110, 13.1; weak comparison)."""
    if header is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def represent(
    resource: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The resource as JSON, with its ETag. For the answers of POST, PUT and the like."""
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
    """The answer of a GET: the representation, or 304 when If-None-Match names it."""
    body = resource if isinstance(resource, bytes) else resource.model_dump_json().encode()
    etag = etag_of(body)
    # A cache may keep it and must ask each time whether it still holds.
    extra = {"ETag": etag, "Cache-Control": "private, no-cache", **(headers or {})}
    if matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=extra)
    return Response(body, headers=extra, media_type=media_type)
