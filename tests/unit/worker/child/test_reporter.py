"""Messages arrive as they were sent."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.stage_results import stage_result
from worker.child.pipes import Reporter, finite
from worker.protocol import Alive, Done, LogLine, StageFinished, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


def sent(*, write: Reporter, read: int) -> list[object]:
    os.close(write.descriptor)
    data = b""
    while chunk := os.read(read, 1 << 16):
        data += chunk
    os.close(read)
    return [parse(line) for line in data.splitlines()]


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4))
def test_a_result_arrives_with_none_for_what_is_no_number(summary: dict[str, Any]) -> None:
    reading, writing = os.pipe()
    reporter = Reporter(writing)
    reporter.send(StageFinished(result=stage_result("import", summary=summary)))
    reporter.send(Done())
    result = stage_result("import", summary=finite(summary))
    assert sent(write=reporter, read=reading) == [StageFinished(result=result), Done()]


def test_signs_of_life_are_sent_when_nothing_else_was_sent_for_a_while() -> None:
    reading, writing = os.pipe()
    reporter = Reporter(writing)
    for _ in range(100):
        reporter.alive()
    reporter.log("a line")
    reporter.alive()
    assert sent(write=reporter, read=reading) == [Alive(), LogLine(message="a line")]


def test_not_a_number_becomes_none() -> None:
    assert finite({"a": [float("nan"), float("inf"), 1.5, 2]}) == {"a": [None, None, 1.5, 2]}


def test_a_line_that_is_no_message_is_none() -> None:
    assert parse(b"warning: something") is None
    assert parse(b"[1]") is None
    assert parse(b'{"no": "type"}') is None
    assert parse(b'{"type": ["done"]}') is None


@pytest.mark.parametrize(
    "line",
    [b'{"type": "log"}', b'{"type": "stage_finished", "result": {"stage": "erm", "artifact": "jobs/x/erm"}}'],
)
def test_a_message_without_its_fields_is_a_bug_and_not_left_out(line: bytes) -> None:
    with pytest.raises(ValidationError):
        parse(line)
