"""Server-sent events: their form, and who gets them."""

from __future__ import annotations

import pytest

from app.jobs.event_stream import accepts_stream, frame
from masktune.contract.jobs import LogEvent


def test_an_event_is_one_line_of_data() -> None:
    told = frame(LogEvent(id=7, type="log", at=0.0, data={"message": "a\nb\rc"})).decode()
    assert told.startswith("id: 7\nevent: log\ndata: {")
    assert told.count("\n") == 4
    assert "\r" not in told


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("text/event-stream;q=0.9, application/json", True),
    ],
)
def test_who_asks_for_a_stream_gets_one(accept: str, stream: bool) -> None:
    assert accepts_stream(accept) is stream
