"""What a receiver says that is no proper answer: little of it is read, and none of it is shown."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from app.webhooks.sender import MOST_READ
from core.session import Database
from tests.integration.app.webhooks.outbox import add, publish, sending, wait_for
from tests.support.waits import PATIENCE

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: <x>\r\n" * 50 + b"\r\n"
NOT_HTTP = "no answer: the receiver sent no HTTP answer, or too long a one"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@contextmanager
def saying(parts: Iterable[bytes]) -> Iterator[str]:
    """The address of a receiver that takes one message and says these parts, until the sender hangs up."""

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(PATIENCE)
            _read_message(connection)
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:  # the sender has hung up
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hook"
        thread.join()


def _read_message(connection: socket.socket) -> None:
    """Read all of it: if a connection is closed with bytes unread, the sender may lose the answer too."""
    with connection.makefile("rb") as stream:
        length = 0
        while line := stream.readline().strip():
            name, _, field = line.partition(b":")
            length = int(field) if name.lower() == b"content-length" else length
        stream.read(length)


@pytest.mark.parametrize("flood", [CONTINUE, HINTS, b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 20_000])
def test_an_attempt_ends_at_an_answer_without_end(database: Database, flood: bytes) -> None:
    with saying(itertools.repeat(flood * (MOST_READ // len(flood) + 1))) as url:
        add(database, url)
        publish(database)
        with sending(database, timeout=60.0):
            row = wait_for(database, lambda row: row.last_error)
    assert row.last_error == NOT_HTTP


def test_some_informational_answers_come_before_an_answer(database: Database) -> None:
    with saying([CONTINUE * 100, HINTS * 5, NO_CONTENT]) as url:
        add(database, url)
        publish(database)
        with sending(database):
            row = wait_for(database, lambda row: row.delivered_at)
    assert row.last_status == 204


@pytest.mark.parametrize(
    "banner",
    [
        b"220 mail.internal ESMTP\x1b[31m\r\n\r\n",
        b"HTTP/1.1 99999 SECRET\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nSECRET\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_http_is_not_shown(database: Database, banner: bytes) -> None:
    with saying([banner]) as url:
        add(database, url)
        publish(database)
        with sending(database):
            row = wait_for(database, lambda row: row.last_error)
    assert row.last_error == NOT_HTTP
