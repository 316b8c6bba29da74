"""What a key is told of its rate: never to come back too early, and nothing left once it is refused."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from limits import RateLimitItem, WindowStats

from app.auth.keyring import Caller
from app.auth.rate_limits import Rates
from core.errors import TooManyRequests
from core.settings import Settings
from masktune.contract.vocabulary import Scope


class Window:
    """A counter whose window ends so many seconds from now, with so many requests left."""

    def __init__(self, ends: float, left: int, *, passes: bool) -> None:
        self._ends, self._left, self._passes = ends, left, passes

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        return self._passes

    async def get_window_stats(self, item: RateLimitItem, *names: str) -> WindowStats:
        return WindowStats(time.time() + self._ends, self._left)


def told(tmp_path: Path, window: Window) -> dict[str, str]:
    limits = Settings(data_dir=tmp_path, rate_limits="predict=3/day").rates
    made = Rates(limits, window)  # type: ignore[arg-type]  # a double
    return asyncio.run(made.count(Caller("key_1", frozenset(Scope)), Scope.PREDICT))


@pytest.mark.parametrize(("ends", "seconds"), [(100.9, 101), (5.9, 6), (0.9, 1), (-3.0, 1)])
def test_seconds_are_rounded_up_and_never_none(tmp_path: Path, ends: float, seconds: int) -> None:
    """Who comes back a part of a second early would be refused again, and at 0 s would not wait at all."""
    headers = told(tmp_path, Window(ends, 2, passes=True))
    assert headers["RateLimit"] == f'"predict";r=2;t={seconds}'
    with pytest.raises(TooManyRequests) as refused:
        told(tmp_path, Window(ends, 0, passes=False))
    assert refused.value.headers["Retry-After"] == str(seconds)


def test_a_key_that_is_refused_has_nothing_left_whatever_the_window_says(tmp_path: Path) -> None:
    """Of two counters that slide, one may have room by then."""
    with pytest.raises(TooManyRequests) as refused:
        told(tmp_path, Window(9.5, 1, passes=False))
    assert refused.value.headers["RateLimit"].startswith('"predict";r=0;')
