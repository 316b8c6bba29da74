"""One connection of the server.

uvicorn parses with httptools, which costs a tenth of h11, but takes heads and trailers of any size, and all
requests that come in one piece at once. It is therefore given a head when all of it has arrived, then its
body, and what follows when that request is answered. Two waits without end are ended here, for an
unfinished head and for an answer to be read; those of a request by its `Exchange`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar
from urllib.parse import quote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.server.clock import CLOCK, Clock, TimeLimits
from app.server.refusing import CLOSE, Refusal, as_bytes
from core.errors import problem
from masktune.contract.problems import ErrorCode

MAX_HEAD_BYTES = 64 << 10
"""Limit of the request line and headers together, and of what is no content in a body; proxies allow 8 to 32
KiB."""
_END, _BREAKS = b"\r\n\r\n", b"\r\n"
_PIECE_BYTES = 4096
"""Of a chunked body that are parsed at a time: behind its end may be more requests, which wait as parsed."""
_OFFER = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
_WEB_SOCKET = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_MALFORMED = Refusal(ErrorCode.BAD_REQUEST, "what was sent is not a well-formed request", (CLOSE,))
_NO_METHOD = Refusal(
    ErrorCode.METHOD_NOT_ALLOWED,
    "there is no such method",
    (CLOSE, (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE")),
)
_HEAD_TOO_LARGE = Refusal(
    ErrorCode.HEAD_TOO_LARGE,
    f"the request line and headers may have at most {MAX_HEAD_BYTES} bytes; send fewer",
    (CLOSE,),
)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, whose requests find its `Clock` in their scopes."""

    limits: ClassVar = TimeLimits()

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._clock = Clock(self.limits, self._parse)
        self._unread = bytearray()
        """What has arrived and is not parsed."""
        self._looked_at = 0
        """Bytes of it among which no head ends."""
        self._body_left: int | None = 0
        """Bytes of the body that are still to come; None if it is chunked."""
        self._framing = 0
        """Bytes of a chunked body since the last one of its content, in whole pieces."""
        super().__init__(config, server_state, {**app_state, CLOCK: self._clock}, _loop)

    # --- what arrives -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._clock.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clock.lost()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._unread += data
        self._parse()
        if len(self._unread) > MAX_HEAD_BYTES:  # behind a request that is being answered
            self.flow.pause_reading()

    def _parse(self) -> None:
        """Parse what may be parsed by now."""
        while self._unread and not self.transport.is_closing() and not self._is_answering():
            piece = self._next_head() if self._body_left == 0 else self._next_of_body()
            if not piece or not self._fed(piece):
                return

    def _is_answering(self) -> bool:
        """Whether a request is complete and its answer is not."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _next_head(self) -> bytes:
        """Take a whole head, without its offer of another protocol than web sockets: httptools would not read
        the body that follows. Empty if it is not complete."""
        end = self._unread.find(_END, max(0, self._looked_at - 3)) + len(_END)
        self._looked_at = len(self._unread)
        if max(end, self._looked_at if end < len(_END) else 0) > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
            return b""
        if end < len(_END):  # what cannot begin a request, such as TLS, is refused by the parser at once
            return b"" if self._unread[:1].isalpha() or self._unread[:1] in _BREAKS else self._take(1)
        head = self._take(end)
        offers = _OFFER.findall(head)
        if offers and (len(offers) > 1 or not _WEB_SOCKET.search(head) or self.ws_protocol_class is None):
            head = _OFFER.sub(b"", head)
        return head

    def _next_of_body(self) -> bytes:
        if self._body_left is not None:
            return self._take(self._body_left)
        piece = self._take(_PIECE_BYTES)
        self._framing += len(piece)
        return piece

    def _take(self, count: int) -> bytes:
        taken = bytes(memoryview(self._unread)[:count])
        del self._unread[:count]
        self._looked_at = 0
        return taken

    def _fed(self, piece: bytes) -> bool:
        """Parse the piece. False if there is nothing more to parse on this connection."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self._unread.clear()
                self.handle_websocket_upgrade()
            return False
        except httptools.HttpParserInvalidMethodError:
            self._refuse(_NO_METHOD if piece[:1].isalpha() else _MALFORMED)
            return False
        except httptools.HttpParserError:
            self._refuse(_MALFORMED)
            return False
        if self._framing > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        return True

    # --- what is parsed -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._framing = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body_left is not None:  # else it is a trailer, which is no header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.url.startswith(b"/") or b"#" in self.url:  # none of our addresses
            self.url = b"/" + quote(self.url).encode()
        self._unset_keepalive_if_required()  # of the request in front
        lengths = dict(self.headers)
        self._clock.body_arrived = False
        self._body_left = None if b"transfer-encoding" in lengths else int(lengths.get(b"content-length", 0))
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._body_left is None:
            self._framing = 0
        else:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_left = 0
        self._clock.body_arrived = True
        super().on_message_complete()

    # --- the answers --------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request with a problem, or cut off an answer that has begun."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self._clock.cut_off()
                return
            cycle.disconnected = True  # its application can answer no more
        body = problem(refusal.code, refusal.detail)
        headers, content = as_bytes(body, *refusal.headers)
        head = b"".join(name + b": " + text + b"\r\n" for name, text in headers)
        self.transport.write(STATUS_LINE[body["status"]] + head + b"\r\n" + content)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._clock.await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._clock.read_on()
