"""What routes send: JSON with a strong ETag and whole files, or 304 if the client has them; and the OpenAPI
declarations of what they take and send by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import Header
from pydantic import BaseModel, JsonValue
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import PreconditionFailed
from masktune.contract.base import Json

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


Responses = dict[int | str, dict[str, Any]]

NOT_MODIFIED: Responses = {304: {"description": "The client's copy is current (If-None-Match)."}}
BINARY = {"type": "string", "format": "binary"}
_TEXTUAL = {"text/plain", "text/csv", "text/html", "text/event-stream"}

KEY_SCHEMES = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key, in the `Authorization` header.",
    },
    "APIKeyHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The key, in its own header.",
    },
}
"""The two ways to send a key."""
NEEDS_KEY: Json = {"security": [{name: []} for name in KEY_SCHEMES]}
"""The `openapi_extra` of a route that needs a key, sent in either way (`app.auth.deps.CallerFirst`)."""


def sends(*media_types: str, description: str = "The content.") -> Responses:
    """Return the `responses` of a route whose 200 may have one of these media types."""
    content = {kind: {"schema": {"type": "string"} if kind in _TEXTUAL else BINARY} for kind in media_types}
    return {200: {"description": description, "content": content}}


def body_of(description: str, **content: Any) -> Json:
    """Return the `openapi_extra` of a route that reads its body itself: the `content` by media type."""
    return {"requestBody": {"required": True, "description": description, "content": content}}


def query_of(model: type[BaseModel]) -> Json:
    """Return the `openapi_extra` of a route that reads its query by `app.http.validation.parse_query`."""
    schema = model.model_json_schema()
    parameters: list[JsonValue] = [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "schema": {key: field[key] for key in field if field[key] is not None},
            "description": field["description"],
        }
        for name, field in schema["properties"].items()
    ]
    return {"parameters": parameters}


def shape_of(model: type[BaseModel]) -> Json:
    """Return a media type's content, of this shape; `app.operations.openapi_routes` puts them into
    the document."""
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


_CHUNK = 1 << 20  # bytes of a file that are in memory at a time


class WholeFile(FileResponse):
    """Ignores Range, as RFC 9110 (14.2) allows: Starlette answers a malformed one in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


class Span(NamedTuple):
    """`length` bytes of a file, from `start` on."""

    file: Path
    start: int
    length: int


def send_pieces(
    pieces: Sequence[bytes | Span], *, media_type: str, headers: Mapping[str, str]
) -> StreamingResponse:
    """Send the pieces as one file. Those they are of may be deleted while they are sent."""
    length = sum(piece.length if isinstance(piece, Span) else len(piece) for piece in pieces)
    return StreamingResponse(
        chunks(pieces), headers={**headers, "Content-Length": str(length)}, media_type=media_type
    )


def chunks(pieces: Sequence[bytes | Span]) -> Iterator[bytes]:
    """The content of the pieces. All files are opened before the first is read."""
    with ExitStack() as stack:
        paths = {piece.file for piece in pieces if isinstance(piece, Span)}
        files = {path: stack.enter_context(path.open("rb")) for path in paths}
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                files[piece.file].seek(piece.start)
                for left in range(piece.length, 0, -_CHUNK):
                    yield files[piece.file].read(min(left, _CHUNK))


def attachment(filename: str) -> str:
    """A Content-Disposition that saves the answer under this name, in any script (RFC 6266, 5; RFC 8187)."""
    return f"attachment; filename*=utf-8''{quote(filename, safe='')}"


def send_file(request: Request, path: Path, *, media_type: str, filename: str | None = None) -> Response:
    """Send the file, to be saved as `filename` if given. Its ETag is made of its size and mtime."""
    headers = {"Accept-Ranges": "none", "Cache-Control": "private, no-cache"}
    response = WholeFile(
        path, headers=headers, media_type=media_type, filename=filename, stat_result=path.stat()
    )
    if matches(request.headers.get("if-none-match"), response.headers["etag"]):
        validators = ("etag", "cache-control", "last-modified")
        return Response(status_code=304, headers={name: response.headers[name] for name in validators})
    return response
