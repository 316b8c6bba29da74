"""Responses as bytes, which a connection sends itself, bypassing the application."""

from __future__ import annotations

from http import HTTPStatus

from app.server.middleware.refusing import Header, Headers, as_bytes

END = b"\r\n"
"""Ends each line of the head, and the head."""


class Refusals:
    """Unfinished heads of the gate's refusals, cached until the server's headers change (the date)."""

    def __init__(self) -> None:
        self._own: Headers = ()
        self._heads: dict[str, bytes] = {}

    def head(self, path: str, headers: Headers, own: Headers) -> bytes:
        """Return the head for one of the gate's paths; `own` are the server's headers."""
        if own is not self._own:
            self._own = own
            self._heads.clear()
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = head_of(HTTPStatus.SERVICE_UNAVAILABLE, (*headers, *own))
        return head


def head_of(status: HTTPStatus, headers: Headers) -> bytes:
    """Encode the status line and these headers, each with its line end."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
    return b"".join(lines + [name + b": " + value + b"\r\n" for name, value in headers])


def problem_of(status: HTTPStatus, detail: str, *more: Header) -> tuple[Headers, bytes]:
    """Return headers and body of a problem of type `about:blank` (RFC 9457, 4.2.1)."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return as_bytes(problem, (b"connection", b"close"), *more)
