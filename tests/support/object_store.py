"""A server of S3's protocol (moto, in this process) that tests and benchmarks stop, start and let fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

_INTERNAL_ERROR = b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"


class Fault(Enum):
    INTERNAL_ERROR = auto()
    """Status 500."""
    CUT = auto()
    """The connection is closed in both directions before the body is read."""


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Keep requests, and those that were cut off, out of the log."""


class ObjectStore:
    """Holds what was stored also while it is stopped, and comes back at its address."""

    def __init__(self) -> None:
        self.port = 0
        self.faults = 0
        """Number of requests that failed on purpose."""
        self._app = create_backend_app("s3")
        self._fault: Callable[[str, str], Fault | None] = _none
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """The usual variables of AWS, which lead to this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        self._server: BaseWSGIServer = make_server(
            "127.0.0.1", self.port, self._answer, threaded=True, request_handler=_Quiet
        )
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, fault: Callable[[str, str], Fault | None]) -> None:
        """From now on, ask `fault` whether and how a request fails, by its method and query."""
        self.faults, self._fault = 0, fault

    def recover(self) -> None:
        self._fault = _none

    @contextmanager
    def failing(self, fault: Callable[[str, str], Fault | None]) -> Iterator[None]:
        """`fail`, until the block ends."""
        self.fail(fault)
        try:
            yield
        finally:
            self.recover()

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        fault = self._fault(environ["REQUEST_METHOD"], environ["QUERY_STRING"])
        self.faults += fault is not None
        if fault is Fault.INTERNAL_ERROR:
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [_INTERNAL_ERROR]
        if fault is Fault.CUT:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


def _none(method: str, query: str) -> Fault | None:
    return None
