"""A fake API with canned answers, for tests of the dashboard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StubApi:
    """`answers`: path → (status, JSON or bytes); other paths return an empty page. `asked`: method and path
    of each request. `query`, `headers`, `body`: those of the last one."""

    url: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    query: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


@contextmanager
def stub_api() -> Iterator[StubApi]:
    """Run a stub on its own port while the block runs."""
    api = StubApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path, _, api.query = self.path.partition("?")
            api.asked.append(f"{self.command} {path}")
            api.headers = self.headers.items()
            api.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, told = api.answers.get(path, (200, {"data": [], "next_cursor": None}))
            body = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815  # the names that the library looks for

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests out of the test output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield api
        finally:
            server.shutdown()
