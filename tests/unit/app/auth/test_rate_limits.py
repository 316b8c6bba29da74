"""Rate limits: counted per key and scope, told in headers, and passed over while the counts are away."""

import asyncio
import time
from pathlib import Path

import pytest
from limits import RateLimitItem, WindowStats
from redis.exceptions import ConnectionError as NoConnection

from app.auth.keyring import Caller
from app.auth.rate_limits import CONNECTIONS, REST_SECONDS, Rates, open_rates
from core.errors import TooManyRequests
from core.settings import Settings
from masktune.contract.vocabulary import Scope

pytestmark = pytest.mark.anyio

ONE, OTHER = Caller("key_1", frozenset(Scope)), Caller("key_2", frozenset(Scope))


def limited(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, rate_limits="predict=3/day, train=1/day")


async def test_a_key_may_make_so_many_and_is_told_when_there_are_more(tmp_path: Path) -> None:
    made = open_rates(limited(tmp_path))
    told = [await made.count(ONE, Scope.PREDICT) for _ in range(3)]
    assert [headers["RateLimit"].split(";")[1] for headers in told] == ["r=2", "r=1", "r=0"]
    assert {headers["RateLimit-Policy"] for headers in told} == {'"predict";q=3;w=86400'}
    with pytest.raises(TooManyRequests) as refused:
        await made.count(ONE, Scope.PREDICT)
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 86_400
    assert refused.value.headers["RateLimit"].startswith('"predict";r=0;t=')


async def test_keys_and_scopes_have_counts_of_their_own(tmp_path: Path) -> None:
    made = open_rates(limited(tmp_path))
    await made.count(ONE, Scope.TRAIN)
    with pytest.raises(TooManyRequests):
        await made.count(ONE, Scope.TRAIN)
    await made.count(OTHER, Scope.TRAIN)
    await made.count(ONE, Scope.PREDICT)
    assert await made.count(ONE, Scope.READ) == {}


async def test_many_at_once_get_no_more_than_one_by_one(tmp_path: Path) -> None:
    made = open_rates(limited(tmp_path))
    counts = (made.count(ONE, Scope.PREDICT) for _ in range(20))
    found = await asyncio.gather(*counts, return_exceptions=True)
    assert sum(isinstance(one, TooManyRequests) for one in found) == 17


async def test_no_limits_no_work(tmp_path: Path) -> None:
    assert await open_rates(Settings(data_dir=tmp_path)).count(ONE, Scope.PREDICT) == {}


class Hung:
    """A counter that never answers."""

    def __init__(self) -> None:
        self.asked = 0

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        self.asked += 1
        await asyncio.Event().wait()
        return True


async def test_a_hung_redis_delays_one_request_and_refuses_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now, hung = 0.0, Hung()
    limits = limited(tmp_path).rates
    made = Rates(limits, hung, patience=0.02, clock=lambda: now)  # type: ignore[arg-type]  # a double
    for _ in range(10):
        assert await made.count(ONE, Scope.TRAIN) == {}
    assert hung.asked == 1
    now = REST_SECONDS
    await made.count(ONE, Scope.TRAIN)
    assert hung.asked == 2
    assert "not counted" in caplog.text


class Slow:
    """Counts as many at a time as it has connections, and no more; what `holds` names waits for ever."""

    def __init__(self, *, holds: str = "") -> None:
        self.inside, self.holds = 0, holds

    async def hit(self, item: RateLimitItem, *names: str) -> bool:
        if self.inside == CONNECTIONS:
            raise NoConnection("No connection available.")
        self.inside += 1
        try:
            await asyncio.sleep(30 if self.holds in names else 0.01)
        finally:
            self.inside -= 1
        return True

    async def get_window_stats(self, item: RateLimitItem, *names: str) -> WindowStats:
        return WindowStats(0.0, 1)


async def test_in_a_burst_every_request_is_counted(tmp_path: Path) -> None:
    made = Rates(limited(tmp_path).rates, Slow(), patience=5)  # type: ignore[arg-type]  # a double
    assert all(await asyncio.gather(*(made.count(ONE, Scope.TRAIN) for _ in range(40 * CONNECTIONS))))


async def test_one_that_is_late_while_others_are_answered_switches_nothing_off(tmp_path: Path) -> None:
    slow = Slow(holds=OTHER.id)
    made = Rates(limited(tmp_path).rates, slow, patience=0.2)  # type: ignore[arg-type]  # a double
    late = asyncio.create_task(made.count(OTHER, Scope.TRAIN))
    await asyncio.sleep(0)
    assert await made.count(ONE, Scope.TRAIN)
    assert await late == {}
    assert await made.count(ONE, Scope.TRAIN)


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
