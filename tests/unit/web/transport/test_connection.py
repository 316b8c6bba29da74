"""Whether the API asks for a key, as the dashboard finds out."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from masktune import OwnKey
from web.transport.connection import Connections, missing_scope


class Answers(BaseHTTPRequestHandler):
    """An API that says the same to everything, and counts how often."""

    status = 200
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        problem = {"title": "No", "detail": "no", "status": self.status}
        body = json.dumps({"data": [], "next_cursor": None} if self.status == 200 else problem).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Not in the output of the tests."""


@pytest.fixture
def api() -> Iterator[tuple[str, type[Answers]]]:
    """Its address and what it says."""
    handler = type("Handler", (Answers,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


@pytest.mark.parametrize(("status", "is_open"), [(200, True), (401, False)])
def test_an_api_that_answers_without_a_key_is_open(
    api: tuple[str, type[Answers]], status: int, is_open: bool
) -> None:
    """It is asked once for many requests."""
    url, answers = api
    answers.status = status

    async def asked_twice() -> list[bool]:
        connections = Connections(url)
        return [await connections.is_open() for _ in range(2)]

    assert asyncio.run(asked_twice()) == [is_open, is_open]
    assert answers.asked == 1


def test_an_error_does_not_change_whether_the_api_is_open(api: tuple[str, type[Answers]]) -> None:
    url, answers = api
    answers.status = 403
    assert asyncio.run(Connections(url).is_open())


def test_an_unreachable_api_counts_as_open() -> None:
    assert asyncio.run(Connections("http://127.0.0.1:9").is_open())


def test_a_missing_scope_is_named() -> None:
    own = OwnKey(scopes=["read"])
    assert [own.may(scope) for scope in ("read", "train", "admin")] == [True, False, False]
    assert missing_scope(own, "train") == "This needs a key with the scope train; yours has only read."
