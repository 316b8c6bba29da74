"""The flows that all other flows are built from: send with retries, parse, page through a list."""

from __future__ import annotations

import email.utils
import itertools
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from masktune.client.errors import ClientError, NotSent, ProblemError, UnexpectedAnswer, Unreachable
from masktune.client.wire import (
    Body,
    Emit,
    EmittingFlow,
    Flow,
    Now,
    Once,
    Open,
    Policy,
    Request,
    Retry,
    Sleep,
)
from masktune.contract.base import Page, rfc3339
from masktune.contract.problems import ErrorCode

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)

PATIENCE = 12
"""Consecutive failures tolerated after a first answer; gives a restarting service at least a minute."""

FAULTS_NAMED = 3
"""Faults listed for an answer with an unexpected shape; more would tell the reader nothing new."""

_NOT_DONE = frozenset({502, 503, 504})


def call(request: Request, shape: type[T]) -> Flow[T]:
    """Send and parse the JSON answer into `shape`. Raises `ProblemError` for a status of 400 and above.

    A redirect raises `UnexpectedAnswer`: following it would turn a POST into a GET.
    """
    return parse((yield from fetch(request)), shape)


def fetch(request: Request) -> Flow[httpx2.Response]:
    """Send the request, with retries where they are safe and can help, and return the 2xx answer."""
    response: httpx2.Response = yield from _attempts(request, Once)
    return response


def open_body(request: Request) -> Flow[Body]:
    """Like `fetch`, but the body has not been read yet."""
    body: Body = yield from _attempts(request, Open)
    return body


def pages(request: Request, shape: type[S]) -> EmittingFlow[S]:
    """Emit every entry of a list, page after page."""
    cursor: str | None = None
    while True:
        next_page = replace(request, query={**request.query, "cursor": cursor})
        page = yield from call(next_page, Page[shape])  # type: ignore[valid-type]  # a shape chosen at run time
        for entry in page.data:
            yield Emit(entry)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:
            raise UnexpectedAnswer(f"GET {request.path} returned the cursor that it was sent")
        cursor = page.next_cursor


def parse(response: httpx2.Response, shape: type[T]) -> T:
    """Parse the JSON body into `shape`. Unknown fields are kept; missing ones raise `UnexpectedAnswer`."""
    try:
        return TypeAdapter(shape).validate_json(response.content)
    except ValidationError as error:
        where = f"{response.request.method} {response.request.url.path}"
        raise UnexpectedAnswer(
            f"{where} did not return a {shape.__name__}: {_unlike(response, error)}"
        ) from error


def _unlike(response: httpx2.Response, error: ValidationError) -> str:
    """Describe in one line what is wrong with the body."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        return f"the body is {kind or 'untyped'}, not JSON; another program may be answering at this address"
    named = [f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}" for fault in faults]
    return "; ".join(named[:FAULTS_NAMED]) + (" …" if len(named) > FAULTS_NAMED else "")


def segment(name: str) -> str:
    """Quote an id or a name as one path segment (RFC 3986, 3.3), so that it cannot lead to another path."""
    if name in ("", ".", ".."):
        raise NotSent(f"{name!r} is not an id or a name")
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise NotSent(f"{name!r} is not an id or a name: it is not valid UTF-8") from None


def get(path: str, **query: str | int | float | bool | None) -> Request:
    return Request(method="GET", path=path, query=query, repeatable=True)


class Filters(TypedDict, total=False):
    """Which data sets, jobs or models are listed; all that is given must hold."""

    name: str | None
    """The exact name."""
    created_by: str | None
    """Id of a key."""
    metadata: Mapping[str, str] | None
    """Pairs that must all be there."""
    created_after: datetime | None
    """This moment or later; local time if it names no time zone."""
    created_before: datetime | None
    q: str | None
    """A text in the name, the id, a text of the metadata or the name of the data set."""


def get_list(path: str, filters: Filters, **query: str | int | None) -> Request:
    """Build the GET of a list with these filters, and those in `query` that it alone has."""
    after, before = filters.get("created_after"), filters.get("created_before")
    return get(
        path,
        **query,
        name=filters.get("name"),
        created_by=filters.get("created_by"),
        created_after=rfc3339(after) if after else None,
        created_before=rfc3339(before) if before else None,
        q=filters.get("q"),
        **metadata_query(filters.get("metadata")),
    )


def metadata_query(pairs: Mapping[str, str | float] | None) -> dict[str, str | float]:
    """The parameters that ask for these pairs of metadata."""
    return {f"metadata.{key}": text for key, text in (pairs or {}).items()}


def create(path: str, *, json: object = None, key: str | None = None) -> Request:
    """Build a POST that creates something once, however often it is sent: it carries an Idempotency-Key."""
    return Request(method="POST", path=path, json=json, headers=idempotent(key), repeatable=True)


class Changes(TypedDict, total=False):
    """What an update changes; a field that is left out stays as it is."""

    name: str | None
    metadata: Mapping[str, str | None] | None
    """Pairs to add or change; None removes one, or all of them."""


def update(path: str, changes: Changes, if_match: str | None) -> Request:
    """Build a PATCH. With `if_match`, an ETag, it is refused if the resource has changed since."""
    headers = {} if if_match is None else {"If-Match": if_match}
    return Request(method="PATCH", path=path, json=changes, headers=headers, repeatable=if_match is None)


def idempotent(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def until(ended: Callable[[S], bool], request: Request, shape: type[S], *, timeout: float | None) -> Flow[S]:
    """Poll, at intervals that grow from 0.1 s to 2 s, until `ended` is true or `timeout` seconds have passed.

    After a first answer, wait for a service that is restarting.
    """
    started: float = yield Now()
    retry: Retry = yield Policy()
    latest: S | None = None
    pause, failed = 0.1, 0
    while True:
        try:
            latest = yield from call(request, shape)
            failed = 0
        except ClientError as error:
            failed += 1
            if latest is None or failed >= PATIENCE or not is_transient(error):
                raise
        now: float = yield Now()
        if ended(latest) or (timeout is not None and now - started >= timeout):
            return latest
        wait = backoff_seconds(retry, failed) if failed else pause
        yield Sleep(wait if timeout is None else min(wait, max(timeout - (now - started), 0.01)))
        pause = min(pause * 1.3, 2.0)


def is_transient(error: ClientError) -> bool:
    """Whether the error is transient: the same request may succeed in a moment."""
    if isinstance(error, ProblemError):
        return error.status in _NOT_DONE or error.status == 429 or error.code == ErrorCode.REQUEST_IN_FLIGHT
    return isinstance(error, Unreachable)


def backoff_seconds(retry: Retry, failed: int) -> float:
    """Seconds to wait after `failed` consecutive failures."""
    return min(retry.longest, retry.first * 2.0**failed)


def _attempts(request: Request, effect: type[Once] | type[Open]) -> Flow[Any]:
    retry: Retry = yield Policy()
    for attempt in itertools.count(1):
        last = attempt >= retry.attempts
        try:
            answer: httpx2.Response | Body = yield effect(request)
        except httpx2.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise NotSent(
                    f"{request.method} {request.path} was not sent: the service's certificate is not of a "
                    f"known authority, or not for this address ({error}); name the file with the authority's "
                    "certificate in MASKTUNE_CA_FILE"
                ) from error
            if last or not _sendable_again(request, error):
                raise Unreachable(
                    f"no answer to {request.method} {request.path} ({str(error) or type(error).__name__})"
                ) from error
            wait = _backoff(retry, attempt)
        else:
            response = answer.response if isinstance(answer, Body) else answer
            if response.is_success:
                return answer
            if response.status_code < 400:
                raise _redirected(request, response)
            problem = _problem(response)
            if last or not request.repeatable or not is_transient(problem):
                raise problem
            retry_after = _retry_after(retry, response)
            wait = _backoff(retry, attempt) if retry_after is None else retry_after
        yield Sleep(wait)
    raise AssertionError("the loop above ends by itself")


def _problem(response: httpx2.Response) -> ProblemError:
    """The error for any response with a status of 400 and above, including one from a proxy."""
    try:
        body = response.json()
    except (ValueError, RecursionError):  # not JSON, or nested too deeply
        body = None
    if not isinstance(body, dict):
        body = {"title": response.reason_phrase or "The request failed"}
    return ProblemError(body, status=response.status_code)


def _sendable_again(request: Request, error: httpx2.TransportError) -> bool:
    if isinstance(error, httpx2.ConnectError):  # nothing was sent
        return True
    given_up = isinstance(error, httpx2.ReadTimeout) and request.answer_seconds is not None
    return request.repeatable and not given_up


def _redirected(request: Request, response: httpx2.Response) -> UnexpectedAnswer:
    """The error for a redirect; where the target keeps the request's path, it suggests the new base URL."""
    what, target = f"{request.method} {request.path}", response.next_request
    if target is None:
        status = f"{response.status_code} {response.reason_phrase}"
        return UnexpectedAnswer(f"{what} returned {status}, which this service never answers with")
    address = str(target.url.copy_with(query=None))
    if address.endswith(request.path):
        address = address.removesuffix(request.path)
        return UnexpectedAnswer(f"{what} redirects to {address}: use that address instead")
    return UnexpectedAnswer(f"{what} redirects to {target.url}; redirects are not followed")


def _backoff(retry: Retry, attempt: int) -> float:
    # Full jitter: clients that failed together must not retry together.
    return random.uniform(0, min(retry.longest, retry.first * 2 ** (attempt - 1)))  # noqa: S311  # nosec B311


def _retry_after(retry: Retry, response: httpx2.Response) -> float | None:
    """Seconds to wait according to `Retry-After` (RFC 9110: seconds, or a date)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), retry.longest_asked)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return min(max(at.timestamp() - time.time(), 0.0), retry.longest_asked)
