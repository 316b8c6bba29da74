"""The folder broker: nothing is lost to a reader, a race or a damaged file."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu.connection import Connection

from core import folder_broker


@pytest.fixture
def name() -> str:
    """A queue name of the test's own: kombu remembers, per process, which queues it has bound."""
    return f"q{uuid.uuid4().hex}"


@pytest.fixture
def connect(tmp_path: Path, name: str) -> Iterator[Any]:
    folder_broker.register()
    opened: list[Connection] = []

    def make() -> Any:
        connection = Connection("folder://", transport_options=folder_broker.options(tmp_path))
        opened.append(connection)
        return connection.SimpleQueue(name)

    yield make
    for connection in opened:
        connection.release()


def test_messages_arrive_once_and_in_order(connect: Any) -> None:
    queue = connect()
    for n in range(20):
        queue.put({"n": n})
    got = []
    for _ in range(20):
        message = queue.get(block=False)
        got.append(message.payload["n"])
        message.ack()
    assert got == list(range(20))
    with pytest.raises(Empty):
        queue.get(block=False)


def test_a_damaged_message_is_set_aside(connect: Any, tmp_path: Path, name: str) -> None:
    queue = connect()
    (tmp_path / "messages" / f"000_damaged.{name}.msg").write_bytes(b'{"half": ')
    queue.put({"n": 1})
    assert queue.get(block=False).payload == {"n": 1}
    assert [p.name for p in (tmp_path / "messages").iterdir()] == [f".damaged-000_damaged.{name}.msg"]


def test_a_message_being_written_is_not_seen(connect: Any, tmp_path: Path, name: str) -> None:
    queue = connect()
    (tmp_path / "messages" / f".000_half.{name}.msg").write_bytes(b"{")
    with pytest.raises(Empty):
        queue.get(block=False)


def test_two_readers_share_without_doubling(connect: Any) -> None:
    writer, readers = connect(), [connect(), connect()]
    for n in range(200):
        writer.put({"n": n})
    got: list[int] = []

    def read(queue: Any) -> None:
        while True:
            try:
                got.append(queue.get(block=False).payload["n"])
            except Empty:
                return

    threads = [threading.Thread(target=read, args=(q,)) for q in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(200))


def test_purge_and_size(connect: Any) -> None:
    queue = connect()
    queue.put({"n": 1})
    queue.put({"n": 2})
    assert queue.qsize() == 2
    queue.clear()
    assert queue.qsize() == 0


def test_many_messages_take_one_look_into_the_folder(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, looks = connect(), 0
    for n in range(20):
        queue.put({"n": n})
    scan = os.scandir

    def counted(path: Any) -> Any:
        nonlocal looks
        looks += 1
        return scan(path)

    monkeypatch.setattr(os, "scandir", counted)
    for n in range(20):
        assert queue.get(block=False).payload == {"n": n}
    assert looks == 1
