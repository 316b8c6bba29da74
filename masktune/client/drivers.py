"""The two drivers, blocking and async, that perform the effects of a flow. Everything else is shared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import httpx2

from masktune.client.errors import NotSent, UnexpectedAnswer
from masktune.client.wire import (
    Body,
    Close,
    Effect,
    Emit,
    EmittingFlow,
    Flow,
    Now,
    Once,
    Open,
    Policy,
    Read,
    Request,
    Retry,
    Sleep,
)

T = TypeVar("T")
Resume: TypeAlias = Callable[[], Effect | Emit[T]]


class SyncDriver:
    """Performs effects with an `httpx2.Client`."""

    def __init__(self, http: httpx2.Client, retry: Retry) -> None:
        self.http = http
        self._retry = retry

    def run(self, flow: Flow[T]) -> T:
        """The flow's result."""
        with closing(self.iterate(_emitting(flow))) as items:
            return next(items)

    def iterate(self, flow: EmittingFlow[T]) -> Generator[T, None, None]:
        """Yield what the flow emits. Leaving the loop early closes the bodies that the flow has open."""
        with ExitStack() as opened, closing(flow):
            resume: Resume[T] = partial(next, flow)
            while True:
                try:
                    effect = resume()
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    yield effect.item
                    resume = partial(next, flow)
                    continue
                try:
                    resume = partial(flow.send, self._perform(effect, opened))
                except httpx2.TransportError as error:
                    resume = partial(flow.throw, error)
                except httpx2.DecodingError as error:
                    resume = partial(flow.throw, _undecodable(error))

    def _perform(self, effect: Effect, opened: ExitStack) -> Any:
        match effect:
            case Once(request):
                with ExitStack() as files:
                    return self.http.send(_build(self.http, request, files))
            case Open(request):
                response = self.http.send(_build(self.http, request, opened), stream=True)
                opened.callback(response.close)
                if not response.is_success:
                    response.read()
                return Body(response, response.iter_bytes())
            case Read(body):
                return next(cast(Iterator[bytes], body.chunks), b"")
            case Close(body):
                return body.response.close()
            case Sleep(seconds):
                return time.sleep(seconds)
            case Now():
                return time.monotonic()
            case Policy():
                return self._retry


class AsyncDriver:
    """Performs effects with an `httpx2.AsyncClient`. Files are read between awaits, 64 KiB at a time."""

    def __init__(self, http: httpx2.AsyncClient, retry: Retry) -> None:
        self.http = http
        self._retry = retry

    async def run(self, flow: Flow[T]) -> T:
        """The flow's result."""
        async with aclosing(self.iterate(_emitting(flow))) as items:
            return await anext(items)

    async def iterate(self, flow: EmittingFlow[T]) -> AsyncGenerator[T, None]:
        """Yield what the flow emits. Closing the iterator closes the bodies that the flow has open."""
        async with AsyncExitStack() as opened:
            opened.callback(flow.close)
            resume: Resume[T] = partial(next, flow)
            while True:
                try:
                    effect = resume()
                except StopIteration:
                    return
                if isinstance(effect, Emit):
                    yield effect.item
                    resume = partial(next, flow)
                    continue
                try:
                    resume = partial(flow.send, await self._perform(effect, opened))
                except httpx2.TransportError as error:
                    resume = partial(flow.throw, error)
                except httpx2.DecodingError as error:
                    resume = partial(flow.throw, _undecodable(error))

    async def _perform(self, effect: Effect, opened: AsyncExitStack) -> Any:
        match effect:
            case Once(request):
                with ExitStack() as files:
                    return await self.http.send(_build(self.http, request, files))
            case Open(request):
                with ExitStack() as files:
                    response = await self.http.send(_build(self.http, request, files), stream=True)
                opened.push_async_callback(response.aclose)
                if not response.is_success:
                    await response.aread()
                return Body(response, response.aiter_bytes())
            case Read(body):
                return await anext(cast(AsyncIterator[bytes], body.chunks), b"")
            case Close(body):
                return await body.response.aclose()
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Now():
                return time.monotonic()
            case Policy():
                return self._retry


def _emitting(flow: Flow[T]) -> EmittingFlow[T]:
    yield Emit((yield from flow))


def _undecodable(error: httpx2.DecodingError) -> UnexpectedAnswer:
    """The error for an answer that is labelled as compressed but is not, or that was damaged in transit."""
    request = error.request
    unexpected = UnexpectedAnswer(
        f"the answer to {request.method} {request.url.path} cannot be decoded: {error}"
    )
    unexpected.__cause__ = error
    return unexpected


def _build(http: httpx2.Client | httpx2.AsyncClient, request: Request, files: ExitStack) -> httpx2.Request:
    """Build the httpx2 request. Its files stay open until `files` closes.

    Raises `NotSent` for values that cannot be encoded: NaN in JSON, half of a surrogate pair.
    """
    parts = []
    for part in request.files:
        content = part.open()
        files.callback(content.close)
        parts.append((part.field, (part.filename, content, part.content_type)))
    try:
        return http.build_request(
            request.method,
            request.path,
            params={name: text for name, text in request.query.items() if text is not None},
            json=request.json,
            content=request.content,
            data=dict(request.form) or None,
            files=cast(Any, parts) or None,  # typed as IO[bytes], but httpx2 uses only read and seek
            headers=dict(request.headers),
            timeout=_timeout(http.timeout, request.answer_seconds),
        )
    except ValueError as error:
        raise NotSent(f"{request.method} {request.path} cannot be sent: {error}") from error


def _timeout(own: httpx2.Timeout, answer_seconds: float | None) -> httpx2.Timeout:
    if answer_seconds is None or own.read is None:
        return own
    read = max(own.read, answer_seconds)
    return httpx2.Timeout(connect=own.connect, read=read, write=own.write, pool=own.pool)
