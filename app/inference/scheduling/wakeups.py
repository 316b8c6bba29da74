"""Delivers results from threads to the event loop: results that are ready together share one wake-up.

`asyncio.wrap_future` would wake the loop once for each result, and a batch has up to 64.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class _Courier:
    """Queues callbacks from any thread for one event loop, with one wake-up for all that are ready."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = partial(loop.call_soon_threadsafe, self._unload)
        self._ready: deque[Callable[[], None]] = deque()
        self._woken = False

    def bring(self, callback: Callable[[], None]) -> None:
        self._ready.append(callback)
        if not self._woken:
            self._woken = True
            try:
                self._wake()
            except RuntimeError:  # the loop is closed, so nothing is waiting
                self._ready.clear()

    def _unload(self) -> None:
        self._woken = False  # before taking anything, so that later callbacks wake the loop again
        while self._ready:
            self._ready.popleft()()


_couriers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Courier] = WeakKeyDictionary()


def awaited(future: Future[T]) -> asyncio.Future[T]:
    """Like `asyncio.wrap_future`, through the running loop's courier. Cancelling it cancels `future`."""
    loop = asyncio.get_running_loop()
    courier = _couriers.get(loop)
    if courier is None:
        courier = _couriers[loop] = _Courier(loop)
    here: asyncio.Future[T] = loop.create_future()
    here.add_done_callback(partial(_cancel, future))
    future.add_done_callback(lambda done: courier.bring(partial(_settle, here, done)))
    return here


def _cancel(future: Future[Any], here: asyncio.Future[Any]) -> None:
    if here.cancelled():
        future.cancel()


def _settle(here: asyncio.Future[T], done: Future[T]) -> None:
    if here.done():  # cancelled in the meantime
        return
    try:
        here.set_result(done.result())
    except CancelledError:
        here.cancel()
    except BaseException as error:  # noqa: BLE001  # any error is passed on to the awaiter
        here.set_exception(error)
