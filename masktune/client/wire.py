"""The effects that a flow asks its driver for: requests as data, and whatever needs a network or a clock.

A flow is a generator: it yields an effect and is sent the result. Each operation is therefore written once
for the sync and the async client, and a test can drive it without either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import httpx2

T = TypeVar("T")
Query: TypeAlias = Mapping[str, str | int | float | bool | None]


class Readable(Protocol):
    """A body that is read while it is sent."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class FilePart:
    """One file of a multipart body. `open` is called again each time the request is sent."""

    field: str
    filename: str
    open: Callable[[], Readable]
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request without a host. `repeatable`: it is idempotent, so it may be retried.

    `answer_seconds`: how long to wait for the answer after the request is sent, if longer than the client's
    read timeout; a request that exceeds it is not retried.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    json: object = None
    content: bytes | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[FilePart, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    answer_seconds: float | None = None


@dataclass(frozen=True)
class Body:
    """An answer whose body has not been read yet."""

    response: httpx2.Response
    chunks: Iterator[bytes] | AsyncIterator[bytes]


@dataclass(frozen=True)
class Retry:
    """How often a repeatable request is sent, and how long to wait between attempts.

    The n-th wait is drawn uniformly between 0 and `first`·2^(n-1) seconds, at most `longest`. A `Retry-After`
    from the service takes precedence, up to `longest_asked` seconds.
    """

    attempts: int = 4
    first: float = 0.25
    longest: float = 8.0
    longest_asked: float = 60.0


@dataclass(frozen=True)
class Once:
    """Send the request once. Returns an `httpx2.Response` that has been read."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send the request once. Returns a `Body`; an answer other than 2xx has already been read."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read the next bytes of the body. Returns empty bytes at its end."""

    body: Body


@dataclass(frozen=True)
class Close:
    """Release the body's connection. Bodies that a flow leaves open are closed when it ends."""

    body: Body


@dataclass(frozen=True)
class Sleep:
    """Wait this many seconds."""

    seconds: float


@dataclass(frozen=True)
class Now:
    """Returns the seconds of a monotonic clock."""


@dataclass(frozen=True)
class Policy:
    """Returns the client's `Retry`."""


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Yield one item to the caller that iterates over the flow."""

    item: T


Effect: TypeAlias = Once | Open | Read | Close | Sleep | Now | Policy
# The value sent back depends on the effect; each `yield` in a flow annotates the type that it receives.
Flow: TypeAlias = Generator[Effect, Any, T]
EmittingFlow: TypeAlias = Generator[Effect | Emit[T], Any, None]
