"""A fake service with canned answers on a real socket, for the commands to call."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from masktune.cli.main import app


@dataclass
class Service:
    """Answers by "METHOD path", and through `by_headers` also by the headers; records the requests.

    `locations`: redirect targets by path.
    """

    url: str = ""
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    by_headers: dict[str, Callable[[dict[str, str]], object]] = field(default_factory=dict)
    locations: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def masktune(self, *arguments: str) -> Result:
        """Run the command against this service."""
        return CliRunner().invoke(app, [*arguments], env={"MASKTUNE_URL": self.url, "COLUMNS": "200"})


_command, _certificates = cache(get_command), cache(ssl.create_default_context)


@pytest.fixture(scope="module", autouse=True)
def _made_once() -> Iterator[None]:
    """Cache the command, which the runner rebuilds for each run, and the certificates, which each client
    reads: both take longer than most commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", _command, raising=False)
        patch.setattr(ssl, "create_default_context", _certificates)
        yield


class Server(ThreadingHTTPServer):
    """Answers for `service`, which each test has of its own."""

    service: Service


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        service = self.server.service
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        service.asked.append((f"{self.command} {self.path}", body))
        service.headers.append(dict(self.headers))
        asked = f"{self.command} {self.path.partition('?')[0]}"
        status, answer = service.answers.get(asked, (404, None))
        if asked in service.by_headers:
            status, answer = 200, service.by_headers[asked](service.headers[-1])
        if answer is None:
            answer = {"title": "Not found", "detail": "look elsewhere"}
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(0 if status == 204 else len(raw)))
        if self.path in service.locations:
            self.send_header("Location", service.locations[self.path])
        self.end_headers()
        if status != 204:
            self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815  # names that http.server requires

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def service(server: Server) -> Service:
    server.service = Service(f"http://127.0.0.1:{server.server_port}")
    return server.service
