"""Turns a flow into a method: blocking on a `Client`, awaitable on an `AsyncClient`, written once."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, overload

from masktune.client.drivers import AsyncDriver, SyncDriver
from masktune.client.names import by_name
from masktune.client.wire import EmittingFlow, Flow

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=SyncDriver | AsyncDriver)


class Resource(Generic[D]):
    """A set of operations that share one driver."""

    def __init__(self, driver: D) -> None:
        self.driver = driver


class Operation(Generic[P, T]):
    """A method that returns the flow's result."""

    def __init__(self, flow: Callable[P, Flow[T]]) -> None:
        self.flow = by_name(flow)

    @overload
    def __get__(self, at: Resource[SyncDriver], owner: object) -> Callable[P, T]: ...
    @overload
    def __get__(self, at: Resource[AsyncDriver], owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, at: Resource[Any], owner: object) -> Callable[P, Any]:
        @functools.wraps(self.flow)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return at.driver.run(self.flow(*args, **kwargs))

        return method


class Listing(Generic[P, T]):
    """A method that returns an iterator over what the flow emits."""

    def __init__(self, flow: Callable[P, EmittingFlow[T]]) -> None:
        self.flow = by_name(flow)

    @overload
    def __get__(self, at: Resource[SyncDriver], owner: object) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, at: Resource[AsyncDriver], owner: object) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, at: Resource[Any], owner: object) -> Callable[P, Any]:
        @functools.wraps(self.flow)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return at.driver.iterate(self.flow(*args, **kwargs))

        return method
