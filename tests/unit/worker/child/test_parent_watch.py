"""The watch reads its first line whole, or says that there is none."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.unit.worker.test_shard_tasks import TASK
from worker.child.pipes import ParentWatch
from worker.protocol import deadline_line, shard_line


def test_the_first_line_is_read_whole_however_it_comes() -> None:
    reading, writing = os.pipe()
    for part in (b"ab", b"c", b"\n", b'{"until": 5}\n'):
        os.write(writing, part)
    parent = ParentWatch(reading)
    assert parent.first_line() == b"abc"
    os.close(writing)
    os.close(reading)


def test_a_pipe_that_ends_without_a_line_is_an_end_of_file() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(EOFError):
        ParentWatch(reading).first_line()
    os.close(reading)


def test_shards_come_between_deadlines() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"spec\n")
    parent = ParentWatch(reading)
    parent.first_line()
    tasks = [TASK, replace(TASK, number=3)]
    os.write(writing, b"\n".join([deadline_line(1e12), *map(shard_line, tasks), b""]))
    parent.watch()
    assert [parent.shards.get(timeout=60) for _ in tasks] == tasks
