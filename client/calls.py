"""The flows that all others are made of: send with retries, parse, page through a list."""

from __future__ import annotations

import email.utils
import itertools
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from client.errors import ClientError, NotSent, ProblemError, UnexpectedAnswer, Unreachable
from client.shapes import Page
from client.wire import Body, Emit, EmittingFlow, Flow, Now, Once, Open, Policy, Request, Retry, Sleep

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)

PATIENCE = 12
"""Failures in a row, of a service that had answered before: at least a minute for one that restarts."""

FAULTS_NAMED = 3
"""Of an answer of another shape: who reads needs no more to see that it is another."""

_NOT_DONE = frozenset({502, 503, 504})
_IN_FLIGHT = "request-in-flight"


def call(request: Request, shape: type[T]) -> Flow[T]:
    """Send and parse the JSON answer into `shape`; a `ProblemError` for an answer of 400 and above.

    A redirect is an `UnexpectedAnswer`: followed, a POST would become a GET.
    """
    response = yield from fetch(request)
    return parse(response, shape)


def fetch(request: Request) -> Flow[httpx.Response]:
    """Send, again where that is safe and helps, and return the answer, a 2xx."""
    response: httpx.Response = yield from _attempts(request, Once)
    return response


def open_body(request: Request) -> Flow[Body]:
    """As `fetch`, with the body still to be read."""
    body: Body = yield from _attempts(request, Open)
    return body


def pages(request: Request, shape: type[S]) -> EmittingFlow[S]:
    """Emit every entry of a list, page after page."""
    cursor: str | None = None
    while True:
        asked = replace(request, query={**request.query, "cursor": cursor})
        page = yield from call(asked, Page[shape])  # type: ignore[valid-type]  # a shape chosen at run time
        for entry in page.data:
            yield Emit(entry)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:
            raise UnexpectedAnswer(f"GET {request.path} answered with the cursor that it was given")
        cursor = page.next_cursor


def parse(response: httpx.Response, shape: type[T]) -> T:
    """The JSON body as `shape`. Unknown fields are kept; missing ones are an `UnexpectedAnswer`."""
    try:
        return TypeAdapter(shape).validate_json(response.content)
    except ValidationError as error:
        where = f"{response.request.method} {response.request.url.path}"
        raise UnexpectedAnswer(
            f"{where} did not answer with a {shape.__name__}: {_unlike(response, error)}"
        ) from error


def _unlike(response: httpx.Response, error: ValidationError) -> str:
    """What is wrong with the body, in a line."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        return f"it is {kind or 'of no type'}, and no JSON; another program may answer at this address"
    named = [f"{'.'.join(map(str, fault['loc'])) or 'the whole'}: {fault['msg']}" for fault in faults]
    return "; ".join(named[:FAULTS_NAMED]) + (" …" if len(named) > FAULTS_NAMED else "")


def segment(name: str) -> str:
    """An id or a name as one part of an address (RFC 3986, 3.3): whatever it holds, it leads nowhere else."""
    if name in ("", ".", ".."):
        raise NotSent(f"{name!r} is no id and no name")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise NotSent(f"{name!r} is no id and no name: it is no UTF-8") from None


def get(path: str, **query: str | int | float | bool | None) -> Request:
    return Request(method="GET", path=path, query=query, repeatable=True)


def create(path: str, *, json: object = None, key: str | None = None) -> Request:
    """A POST that creates something once, however often it is sent: it carries an Idempotency-Key."""
    return Request(method="POST", path=path, json=json, headers=idempotent(key), repeatable=True)


def idempotent(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def until(ended: Callable[[S], bool], request: Request, shape: type[S], *, timeout: float | None) -> Flow[S]:
    """Ask again, less and less often (0.1 s to 2 s), until `ended` holds or time is up.

    Once it has answered, a service that restarts is waited for.
    """
    started: float = yield Now()
    retry: Retry = yield Policy()
    seen: S | None = None
    pause, failed = 0.1, 0
    while True:
        try:
            seen = yield from call(request, shape)
            failed = 0
        except ClientError as error:
            failed += 1
            if seen is None or failed >= PATIENCE or not passing(error):
                raise
        now: float = yield Now()
        if ended(seen) or (timeout is not None and now - started >= timeout):
            return seen
        wait = growing(retry, failed) if failed else pause
        yield Sleep(wait if timeout is None else min(wait, max(timeout - (now - started), 0.01)))
        pause = min(pause * 1.3, 2.0)


def passing(error: ClientError) -> bool:
    """Whether the same request may fare better in a moment."""
    if isinstance(error, ProblemError):
        return error.status in _NOT_DONE or error.status == 429 or error.code == _IN_FLIGHT
    return isinstance(error, Unreachable)


def growing(retry: Retry, failed: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(retry.longest, retry.first * 2.0**failed)


def _attempts(request: Request, effect: type[Once] | type[Open]) -> Flow[Any]:
    retry: Retry = yield Policy()
    for attempt in itertools.count(1):
        last = attempt >= retry.attempts
        try:
            answer: httpx.Response | Body = yield effect(request)
        except httpx.TransportError as error:
            if last or not _sendable_again(request, error):
                raise Unreachable(
                    f"no answer to {request.method} {request.path} ({_reason(error)})"
                ) from error
            wait = _backoff(retry, attempt)
        else:
            response = answer.response if isinstance(answer, Body) else answer
            if response.is_success:
                return answer
            if response.status_code < 400:
                raise _redirected(request, response)
            problem = ProblemError.of(response)
            if last or not request.repeatable or not passing(problem):
                raise problem
            asked = _asked_for(retry, response)
            wait = _backoff(retry, attempt) if asked is None else asked
        yield Sleep(wait)
    raise AssertionError("the loop above ends by itself")


def _sendable_again(request: Request, error: httpx.TransportError) -> bool:
    if isinstance(error, httpx.ConnectError):  # nothing was sent
        return True
    given_up = isinstance(error, httpx.ReadTimeout) and request.answer_seconds is not None
    return request.repeatable and not given_up


def _redirected(request: Request, response: httpx.Response) -> UnexpectedAnswer:
    """Says where to: with the path of the request, that is another address of the same service."""
    what, target = f"{request.method} {request.path}", response.next_request
    if target is None:
        status = f"{response.status_code} {response.reason_phrase}"
        return UnexpectedAnswer(f"{what} was answered with {status}, which is no answer of this service")
    address = str(target.url.copy_with(query=None))
    if address.endswith(request.path):
        address = address.removesuffix(request.path)
        return UnexpectedAnswer(f"{what} redirects to {address}: use that as the address")
    return UnexpectedAnswer(f"{what} redirects to {target.url}, which is not followed")


def _backoff(retry: Retry, attempt: int) -> float:
    # Full jitter: clients that failed together must not come back together.
    return random.uniform(0, min(retry.longest, retry.first * 2 ** (attempt - 1)))  # noqa: S311  # nosec B311


def _asked_for(retry: Retry, response: httpx.Response) -> float | None:
    """Seconds of a `Retry-After` (RFC 9110: seconds, or a date)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), retry.longest_asked)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(at.timestamp() - time.time(), 0.0), retry.longest_asked)


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
