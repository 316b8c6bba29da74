"""A parser for server-sent events (WHATWG HTML, section 9.2.6): bytes in, complete events out.

That of httpx2 would not do: it reads a response itself, in one way for each driver.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field

from masktune.client.errors import UnexpectedAnswer

MAX_CHARACTERS = 1 << 22
"""Of one event: whatever answers at the address may send a line that never ends."""


@dataclass(frozen=True)
class ServerEvent:
    """One event. `id` is the last id that the stream has sent."""

    id: str
    type: str
    data: str


@dataclass
class Parser:
    """An incremental parser. An event that is cut off by the end of the stream is dropped."""

    last_id: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
    _rest: str = ""
    _type: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that these bytes complete.

        Raises `UnexpectedAnswer` for an event of more than `MAX_CHARACTERS`.
        """
        text = self._rest + self._decoder.decode(chunk)
        # A line may end in \n, \r\n or \r. A trailing \r may be half of a \r\n, so it is held back.
        held = "\r" if text.endswith("\r") else ""
        lines = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + held
        events = [event for event in map(self._line, lines) if event is not None]
        if len(self._rest) + sum(map(len, self._data)) > MAX_CHARACTERS:
            raise UnexpectedAnswer(f"an event of the stream is longer than {MAX_CHARACTERS:,} characters")
        return events

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, _, text = line.partition(":")
        text = text.removeprefix(" ")
        if name == "data":
            self._data.append(text)
        elif name == "event":
            self._type = text
        elif name == "id" and "\0" not in text:
            self.last_id = text
        return None

    def _dispatch(self) -> ServerEvent | None:
        text, kind = "\n".join(self._data), self._type or "message"
        empty = not self._data
        self._data, self._type = [], ""
        return None if empty else ServerEvent(self.last_id, kind, text)
