"""Sends artifacts as whole files, or 304 if the client has them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.http.etag import matches


class WholeFile(FileResponse):
    """Ignores Range, as RFC 9110 (14.2) allows: Starlette answers a malformed one in plain text."""

    end = b""
    """Sent behind the file, as a part of it. No argument, as FastAPI reads those of its own class."""

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        super().set_stat_headers(stat_result)
        self.headers["Content-Length"] = str(stat_result.st_size + len(self.end))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_end(message: Message) -> None:
            if message["type"] == "http.response.body" and not message["more_body"]:
                message = {**message, "body": message["body"] + self.end}
            await send(message)

        headers = [header for header in scope["headers"] if header[0] != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send_with_end if self.end else send)


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
