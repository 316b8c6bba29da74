"""The parser of server-sent events."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktune import UnexpectedAnswer
from masktune.client.sse import Parser, ServerEvent

STREAM = (
    ": a comment keeps the line open\n\n"
    "retry: 1500\n"
    'id: 1\nevent: state\ndata: {"a":\ndata: 1}\n\n'
    "id: 2\r\ndata:no space — 🦆\r\n\r\n"
    "event: only a name\n\n"
    "data\rid: 3\r\r"
    "id: bad\0id\nunknown: x\ndata:  two spaces\n\n"
    "id: 9\ndata: cut off"
).encode()
EVENTS = [
    ServerEvent("1", "state", '{"a":\n1}'),
    ServerEvent("2", "message", "no space — 🦆"),
    ServerEvent("3", "message", ""),
    ServerEvent("3", "message", " two spaces"),
]


def test_a_stream_as_the_standard_has_it() -> None:
    parser = Parser()
    assert parser.feed(STREAM) == EVENTS


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_it_does_not_matter_where_it_is_cut(cuts: list[int]) -> None:
    parser, edges = Parser(), sorted({0, *cuts, len(STREAM)})
    found = [event for start, end in itertools.pairwise(edges) for event in parser.feed(STREAM[start:end])]
    assert found == EVENTS


@pytest.mark.parametrize("line", ["retry: soon", "id", ":", "nonsense"])
def test_lines_without_a_meaning_are_passed_over(line: str) -> None:
    parser = Parser()
    assert parser.feed(f"{line}\ndata: x\n\n".encode()) == [ServerEvent("", "message", "x")]


@pytest.mark.parametrize(
    "chunk", [b"x" * (1 << 20), b"data: " + b"x" * (1 << 20) + b"\n"], ids=["line", "lines"]
)
def test_an_event_that_never_ends_is_refused(chunk: bytes) -> None:
    parser = Parser()
    feed_all = (parser.feed(chunk) for _ in range(9))
    with pytest.raises(UnexpectedAnswer, match="longer than 4,194,304 characters"):
        list(feed_all)
