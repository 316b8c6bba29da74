"""A receiver of webhooks on loopback, which answers as a test says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.waits import PATIENCE

HANG = 0
"""In place of a status: the receiver takes the message and does not answer until the block ends."""


class Message(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """`answers`: the statuses of the next messages; then 204. `answer_headers`, `answer_body`: of each."""

    port: int
    answers: list[int] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)
    answer_body: bytes = b""
    messages: list[Message] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of each message, in the order of their arrival."""
        return [message.headers["webhook-id"] for message in self.messages]


@contextmanager
def receiver(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver while the block runs, on its own port by default; with a context it speaks TLS."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): text for name, text in self.headers.items()}
            status = started.answers.pop(0) if started.answers else 204
            started.messages.append(Message(self.path, headers, body))
            if status == HANG:
                ended.wait(PATIENCE)
                return
            self.send_response(status)
            for name, text in started.answer_headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(started.answer_body)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the sender does not read the body
                return

        def log_message(self, format: str, *args: object) -> None:
            """Keep requests out of the test output."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        started = Receiver(server.server_port)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield started
        finally:
            ended.set()
            server.shutdown()
