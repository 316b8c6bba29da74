"""The watch reads its first line whole, or says that there is none."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from queue import SimpleQueue
from unittest.mock import patch

import pytest

from masktune.contract.vocabulary import Stage
from worker.child.pipes import ParentWatch, Reporter, ShardOrder, ShardRequests
from worker.protocol import PassSpec, deadline_line, shards_line


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


SPEC = PassSpec(
    stage=Stage.PREDICT,
    name="predictions",
    arguments={"split": "train", "model": None},
    key="jobs/job_1/work/predictions",
    title="predictions",
    kind="cpu",
    threads=2,
)


def test_shards_and_their_pass_come_between_deadlines() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"spec\n")
    parent = ParentWatch(reading)
    parent.first_line()
    lines = [deadline_line(1e12), shards_line(SPEC.key, [], asdict(SPEC)), shards_line(SPEC.key, [7, 3])]
    os.write(writing, b"\n".join([*lines, b""]))
    parent.watch()
    orders = [parent.orders.get(timeout=60) for _ in range(2)]
    assert orders == [ShardOrder(SPEC.key, [], SPEC), ShardOrder(SPEC.key, [7, 3], None)]
    assert orders[0].opened is not None
    assert orders[0].opened.stage is Stage.PREDICT


def test_a_request_for_shards_is_made_once_until_it_is_answered() -> None:
    reading, writing = os.pipe()
    orders = SimpleQueue[ShardOrder]()
    requests = ShardRequests("new", Reporter(writing), orders)
    with patch("worker.child.pipes._ANSWER_SECONDS", 0.0):
        assert requests.take(2) is None
        orders.put(ShardOrder("old", [1], None))
        assert requests.take(3) is None, "shards of another pass"
        orders.put(ShardOrder("new", [0, 1], None))
        assert requests.take(4) == [0, 1]
        assert requests.take(5) is None
    os.close(writing)
    with os.fdopen(reading) as messages:
        assert [json.loads(line)["count"] for line in messages] == [2, 5]
