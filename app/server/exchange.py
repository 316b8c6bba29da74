"""One request and its answer, as `Edge` passes them on: what its body and its place may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Scope, Send

from app.http.headers import has_body, header
from app.server.clock import Clock
from app.server.refusing import CLOSE, Header, Refusal, as_bytes
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

if TYPE_CHECKING:
    from app.inference import Admission

_DISCONNECT: Message = {"type": "http.disconnect"}
_STREAM = b"text/event-stream"
_HARDENING = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))
"""A browser neither guesses the type of an answer nor shows one, such as `/docs`, inside another page."""
_RETRY_SECONDS = 5
_SLOW = Refusal(
    ErrorCode.OVERLOADED,
    f"too many bodies are arriving slowly; try again in {_RETRY_SECONDS} s",
    ((b"retry-after", str(_RETRY_SECONDS).encode()),),
)
ENDED = Refusal(
    ErrorCode.UNAVAILABLE,
    "the service shut down before this was done; send the request again, with the same Idempotency-Key if "
    "any",
    ((b"retry-after", b"5"), CLOSE),
)
_UNEXPECTED = PROBLEM_KINDS[ErrorCode.INTERNAL].status
_NONE: Mapping[str, str] = {}


class Enough(Exception):
    """Stops an application that answers HEAD in parts: a stream may be endless, and a file has many."""


class Exchange:
    """Counts the body against its limit and its pace, and sends the answer.

    An answer arrives although its client is still sending the body: its end is held back until the body is
    there (`finish`). To HEAD, only the head of an answer is sent.
    """

    def __init__(self, clock: Clock, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """An empty `request_id`, as for pages, adds no headers to the answer."""
        self.scope, self.status = scope, _UNEXPECTED
        self.started = self.streams = self.refused = False
        """Whether the answer has begun, is an event stream, is a refusal."""
        self.limit: int | None = None
        """Bytes that the body may have."""
        self._clock, self.receive_piece, self._send_piece = clock, receive, send
        self._request_id = request_id.encode()
        self._admission: Admission | None = None
        self._complete = not has_body(scope)
        """Whether the whole body has been received."""
        self._undecided = header(scope, b"expect").lower() == b"100-continue"
        """Whether the client waits to be told to send its body."""
        self._received, self._waited = 0, 0.0
        self._ended = self._slow = False

    # --- the place ----------------------------------------------------------------------------

    def enter(self, admission: Admission) -> None:
        """Take a place, which is given up while the body is slow to arrive.

        Otherwise clients that send a few bytes a second could occupy every place and block all predictions.
        """
        admission.in_flight += 1
        self._admission = admission

    def leave(self) -> None:
        """Give the place back, if there is one."""
        if self._admission is not None:
            self._take_again()
            self._admission.in_flight -= 1

    def _give_up(self, admission: Admission) -> bool:
        """Free the place until the body has arrived. False if too many others already have."""
        if admission.slow_bodies >= admission.most:
            return False
        self._slow = True
        admission.slow_bodies += 1
        admission.in_flight -= 1
        return True

    def _take_again(self) -> None:
        """Take a place that was given up, however many are in use."""
        if self._slow and self._admission is not None:
            self._slow = False
            self._admission.slow_bodies -= 1
            self._admission.in_flight += 1

    # --- the body -----------------------------------------------------------------------------

    async def receive(self) -> Message:
        if self.refused:
            return _DISCONNECT
        self._undecided = False
        if self._complete:
            return await self.receive_piece()
        began = asyncio.get_running_loop().time()
        message = await self._next_piece(began)
        if message is None:
            return _DISCONNECT
        self._waited += asyncio.get_running_loop().time() - began
        self._received += len(message.get("body", b""))
        if not message.get("more_body", False):
            self._complete = True
            self._take_again()
        if self.limit is not None and self._received > self.limit:
            await self.refuse(too_large(self.limit))
            return _DISCONNECT
        return message

    async def _next_piece(self, began: float) -> Message | None:
        """Await the next piece within the time that is left, in a place and in all; None after a refusal."""
        limits, admission = self._clock.limits, self._admission
        if admission is not None and not self._slow:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + admission.slow_seconds - self._waited):
                    return await self.receive_piece()
            if not self._give_up(admission):
                await self.refuse(_SLOW)
                return None
        with suppress(TimeoutError):
            late = limits.body + self._received / limits.pace - self._waited
            async with asyncio.timeout_at(began + late):
                return await self.receive_piece()
        self._complete = True  # the rest is not waited for
        detail = f"the body arrived at less than {limits.pace:g} bytes/s; send it again, faster"
        await self.refuse(Refusal(ErrorCode.REQUEST_TIMEOUT, detail, (CLOSE,)))
        return None

    # --- the answer ---------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            if message["status"] == _UNEXPECTED and _is_cut_off():
                await self.refuse(ENDED)
            else:
                await self._send_piece(self._start(message))
            return
        more = message.get("more_body", False)
        is_head = self.scope["method"] == "HEAD"
        if is_head:
            message = {"type": "http.response.body"}
        if not self._complete and not (more and not is_head):
            self._ended = True
            message = {**message, "more_body": True}
        await self._send_piece(message)
        if is_head and more:
            raise Enough

    def _start(self, message: Message) -> Message:
        self.started, self.status = True, message["status"]
        headers: list[Header] = list(message.get("headers", ()))
        self.streams = any(n == b"content-type" and v.startswith(_STREAM) for n, v in headers)
        if self._request_id:
            headers += ((b"x-request-id", self._request_id), *_HARDENING)
            for name, text in self.scope["state"].get("headers", _NONE).items():
                headers.append((name.lower().encode(), text.encode()))
        if self._undecided:  # the body may or may not follow: what comes next could be either
            self._complete = True
            headers.append(CLOSE)
        return {**message, "headers": headers}

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with a problem, or cut off an answer that has begun. To the application the client has
        disconnected."""
        if self.started:
            self._clock.cut_off()
        else:
            body = problem(refusal.code, refusal.detail, instance=self.scope["path"])
            await self.answer(body["status"], *as_bytes(body, *refusal.headers))
        self.refused = True

    async def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Send an answer that is complete."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def finish(self) -> None:
        """Receive the rest of the body, and end the answer. Closing with unread bytes would reset the
        connection, and the client might lose the answer (RFC 9112, 9.6)."""
        if self._ended:
            await self._drain()
            await self._send_piece({"type": "http.response.body"})

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._clock.limits.drain):
                while not self._complete:
                    async with asyncio.timeout(self._clock.limits.pause):
                        message = await self.receive_piece()
                    self._complete = not message.get("more_body", False)
            return
        self._clock.close()


def too_large(limit: int) -> Refusal:
    """The refusal of a body beyond this limit, in bytes."""
    detail = f"the body may have at most {limit} bytes; send less, or ask the operator to raise the limit"
    return Refusal(ErrorCode.PAYLOAD_TOO_LARGE, detail, (CLOSE,))


def _is_cut_off() -> bool:
    """Whether the request was cancelled because the graceful shutdown ran out of time. An error may then be a
    consequence: closing a session while a thread still waits for the database raises one of its own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
