"""Answers as bytes: what a connection says by itself, past the application."""

from __future__ import annotations

from http import HTTPStatus

from app.middleware.refusing import Headers, as_bytes

END = b"\r\n"
"""Of a line of the head, and of the head."""


class Refusals:
    """Heads of the gate's refusals but for their end: made anew when the server's headers are (its date)."""

    def __init__(self) -> None:
        self._own: Headers = ()
        self._heads: dict[str, bytes] = {}

    def head(self, path: str, headers: Headers, own: Headers) -> bytes:
        """That for one of the gate's paths; `own` are the server's headers."""
        if own is not self._own:
            self._own = own
            self._heads.clear()
        head = self._heads.get(path)
        if head is None:
            head = self._heads[path] = head_of(HTTPStatus.SERVICE_UNAVAILABLE, (*headers, *own))
        return head


def head_of(status: HTTPStatus, headers: Headers) -> bytes:
    """The status line and these headers, each with the end of its line."""
    lines = [f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()]
    return b"".join(lines + [name + b": " + value + b"\r\n" for name, value in headers])


def problem_of(status: HTTPStatus, detail: str) -> tuple[Headers, bytes]:
    """Headers and body of a problem that has no kind but its status (RFC 9457, 4.2.1)."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return as_bytes(problem, (b"connection", b"close"))
