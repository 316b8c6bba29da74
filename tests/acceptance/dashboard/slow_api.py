"""A proxy in front of the API that holds back predictions of one sample until it is told to go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.support.waits import PATIENCE


class SlowApi:
    """`url` forwards requests to the API at `to`; predictions of the sample `held` wait for `go`."""

    def __init__(self, to: str) -> None:
        self.to, self.url = to, ""
        self.held = ""
        self.holding, self.go = threading.Event(), threading.Event()

    def wait_for(self, path: str) -> None:
        asked = urlsplit(path)
        if asked.path == "/predict" and parse_qs(asked.query)["sample"] == [self.held]:
            self.holding.set()
            assert self.go.wait(PATIENCE)


@contextmanager
def slow_api(to: str) -> Iterator[SlowApi]:
    """Run a `SlowApi` while the block runs."""
    slow = SlowApi(to)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            slow.wait_for(self.path)
            answer = httpx.get(f"{slow.to}{self.path}", trust_env=False, timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests out of the test output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        slow.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield slow
        finally:
            slow.go.set()
            server.shutdown()
