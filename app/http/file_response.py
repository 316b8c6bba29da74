"""Sends artifacts as whole files, or 304 if the client has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.responses import matches

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
