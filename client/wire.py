"""What a flow asks its driver to do: requests as data, and the few effects that need a network or a clock.

A flow is a generator. It yields an effect and is sent the answer, so that one text of every
operation serves the sync and the async client alike, and a test can drive it with neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import httpx

T = TypeVar("T")
Query: TypeAlias = Mapping[str, str | int | float | bool | None]


class Readable(Protocol):
    """A body that is read while it is sent."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class FilePart:
    """One file of a multipart body. `open` is called anew for each time that the request is sent."""

    field: str
    filename: str
    open: Callable[[], Readable]
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request before it has a host. `repeatable`: sending it twice does no more than sending it once.

    `answer_seconds`: how long the answer may take once all is sent, where that is more than the client's
    own; after that it is not sent again.
    """

    method: str
    path: str
    query: Query = field(default_factory=dict)
    json: object = None
    form: Mapping[str, str] = field(default_factory=dict)
    files: tuple[FilePart, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    answer_seconds: float | None = None


@dataclass(frozen=True)
class Body:
    """An answer whose body is still to come."""

    response: httpx.Response
    chunks: Iterator[bytes] | AsyncIterator[bytes]


@dataclass(frozen=True)
class Retry:
    """How often a repeatable request is sent, and how long is waited in between.

    The n-th wait is drawn between 0 and `first`·2^(n-1) seconds, at most `longest`; a `Retry-After`
    of the service counts instead, up to `longest_asked` seconds.
    """

    attempts: int = 4
    first: float = 0.25
    longest: float = 8.0
    longest_asked: float = 60.0


@dataclass(frozen=True)
class Once:
    """Send the request one time. Answered by an `httpx.Response` that has been read."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send the request one time. Answered by a `Body`; an answer that is no 2xx has been read."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Answered by the next bytes of the body, empty at its end."""

    body: Body


@dataclass(frozen=True)
class Close:
    """Give the body's connection back. What a flow leaves open is closed when it ends."""

    body: Body


@dataclass(frozen=True)
class Sleep:
    """Wait this many seconds."""

    seconds: float


@dataclass(frozen=True)
class Now:
    """Answered by the seconds of a clock that never goes back."""


@dataclass(frozen=True)
class Policy:
    """Answered by the client's `Retry`."""


@dataclass(frozen=True)
class Emit(Generic[T]):
    """Hand one item to the caller who iterates."""

    item: T


Effect: TypeAlias = Once | Open | Read | Close | Sleep | Now | Policy
# What is sent back depends on the effect; each `yield` below states the type that it gets.
Flow: TypeAlias = Generator[Effect, Any, T]
EmittingFlow: TypeAlias = Generator[Effect | Emit[T], Any, None]
