"""Rate limits: how often a key or a person may make requests, by the scope that they need.

If the broker is Redis, the counts are kept there and shared by all replicas; otherwise each process keeps its
own, and N processes allow N times the rate. The algorithm and its atomic script are those of the library
`limits`: a sliding window of two counters, which at an even pace never admits more than the rate in any
window's time and does not reset at a window's edge.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from app.auth.keyring import Caller
from core.errors import TooManyRequests
from core.settings import Settings
from masktune.contract.vocabulary import Scope

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

logger = logging.getLogger(__name__)

REDIS_SECONDS = 0.25
"""How long a request waits for Redis, which normally answers in less than a millisecond."""
CONNECTIONS = 8
"""Limit of concurrent requests to Redis. More are no faster, and each would wait longer in a burst."""
REST_SECONDS = 5.0
"""How long Redis is not asked after it failed to answer, so that it does not delay every request."""


class _State(NamedTuple):
    """State of a key's limit: requests left, and seconds until there are more."""

    passed: bool
    left: int
    seconds: int


class Rates:
    """The limits of this service and their counts. Use it in the event loop's thread; it never blocks."""

    def __init__(
        self,
        limits: Mapping[Scope, RateLimitItem],
        limiter: RateLimiter | None = None,
        *,
        close: Callable[[], Awaitable[None]] | None = None,
        patience: float = REDIS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._limiter, self._close = limits, limiter, close
        self._patience, self._clock = patience, clock
        self._connections = asyncio.Semaphore(CONNECTIONS)
        self._answered_at = self._away_until = float("-inf")

    async def count(self, caller: Caller, scope: Scope) -> dict[str, str]:
        """Count a request.
        Returns the rate limit headers, or raises `TooManyRequests`.

        If Redis does not answer, the request passes. The limits keep the service fair among trusted keys, and
        refusing all of them while Redis restarts would itself be an outage. The limits that protect the
        process (queues, bodies, streams) do not depend on Redis.
        """
        limit = self._limits.get(scope)
        if limit is None or self._limiter is None:
            return {}
        async with self._connections:  # before the timeout starts: waiting here says nothing about Redis
            state = await self._ask(self._limiter, limit, caller.id, scope.value)
        if state is None:
            return {}
        headers = {  # as in draft-ietf-httpapi-ratelimit-headers (since version 8)
            "RateLimit-Policy": f'"{scope.value}";q={limit.amount};w={limit.get_expiry()}',
            "RateLimit": f'"{scope.value}";r={state.left};t={state.seconds}',
        }
        if not state.passed:
            raise TooManyRequests(
                f"you may make {limit.amount} {scope.value} requests in {limit.get_expiry()} s; "
                f"try again in {state.seconds} s",
                headers=headers | {"Retry-After": str(state.seconds)},
            )
        return headers

    async def _ask(self, limiter: RateLimiter, limit: RateLimitItem, *names: str) -> _State | None:
        """Count the request and return the key's state; None if Redis does not answer, or just did not."""
        began = self._clock()
        if began < self._away_until:
            return None
        try:
            async with asyncio.timeout(self._patience):
                passed = await limiter.hit(limit, *names)
                reset, left = await limiter.get_window_stats(limit, *names)
        except _failures() as error:
            if self._answered_at < began:  # else Redis has answered others, and this process is slow
                self._away_until = self._clock() + REST_SECONDS
                logger.warning("rate limits are not counted for %g s: %r", REST_SECONDS, error)
            return None
        self._answered_at = self._clock()
        return _State(passed, left if passed else 0, max(1, math.ceil(reset - time.time())))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._close is not None:
            await self._close()


def open_rates(settings: Settings) -> Rates:
    """Create the limits of the settings, on the storage that matches the broker."""
    if not settings.rates:
        return Rates({})
    # Takes half a second to import, so only if there are limits.
    from limits.aio.storage import MemoryStorage, RedisStorage
    from limits.aio.strategies import SlidingWindowCounterRateLimiter

    if not settings.broker_url.startswith(("redis://", "rediss://")):
        return Rates(settings.rates, SlidingWindowCounterRateLimiter(MemoryStorage()))
    from redis.asyncio import BlockingConnectionPool

    pool = BlockingConnectionPool.from_url(
        settings.broker_url,
        max_connections=CONNECTIONS,
        timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        socket_timeout=REDIS_SECONDS,
    )
    storage = RedisStorage(
        f"async+{settings.broker_url}",
        implementation="redispy",
        key_prefix="masktune-rate",
        connection_pool=pool,  # type: ignore[arg-type]  # as documented
    )
    return Rates(settings.rates, SlidingWindowCounterRateLimiter(storage), close=pool.disconnect)


def _failures() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError, TimeoutError)
