"""The folder broker: nothing is lost to a reader, a race or a damaged file."""

from __future__ import annotations

import errno
import os
import threading
import time
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


def test_a_folder_that_cannot_be_read_is_empty_until_it_can(
    connect: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue, messages = connect(), tmp_path / "messages"
    queue.put({"n": 1})
    messages.rename(tmp_path / "away")
    messages.touch()  # so that whoever looks into it is told ENOTDIR
    for _ in range(3):
        with pytest.raises(Empty):
            queue.get(block=False)
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the queue's folder cannot be read"
    ]
    messages.unlink()
    (tmp_path / "away").rename(messages)
    assert queue.get(block=False).payload == {"n": 1}


def test_a_message_that_cannot_be_taken_now_is_taken_later(
    connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = connect()
    queue.put({"n": 1})

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        for _ in range(3):
            with pytest.raises(Empty):
                queue.get(block=False)
    assert len(caplog.records) == 1
    assert queue.get(block=False).payload == {"n": 1}


def test_what_killed_processes_left_goes_after_a_day(connect: Any, tmp_path: Path, name: str) -> None:
    messages = tmp_path / "messages"
    queue = connect()
    stays = [f".taken-1.{name}.msg", f".2.{name}.msg", f"3.{name}-other.msg"]
    goes = [f".taken-5.{name}.msg", f".damaged-6.{name}.msg", f".7.{name}.msg"]
    for number, file in enumerate((*stays, *goes)):
        (messages / file).write_text("{}")
        if number > 1:
            os.utime(messages / file, (time.time() - 25 * 3600,) * 2)
    with pytest.raises(Empty):
        queue.get(block=False)
    assert sorted(path.name for path in messages.iterdir()) == sorted(stays)
