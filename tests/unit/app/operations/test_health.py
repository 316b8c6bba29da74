"""The checks behind /readyz: one of each part at a time, whatever hangs and however often it is asked."""

import asyncio
from threading import Event, active_count

import pytest

from app.operations.health import FORWARD_SECONDS, ForwardCheck, Probes

pytestmark = pytest.mark.anyio


class Store:
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = 0, Event()

    def check(self) -> None:
        self.asked += 1
        self.go.wait(30)


async def test_a_part_that_hangs_takes_one_thread_however_often_it_is_asked() -> None:
    store, probes = Store(), Probes()
    before = active_count()
    at_once = await asyncio.gather(*(probes.ask("storage", store.check, 0.05) for _ in range(50)))
    later = [await probes.ask("storage", store.check, 0.05) for _ in range(50)]
    assert {type(error) for error in at_once + later} == {TimeoutError}
    assert (store.asked, active_count() - before) == (1, 1)
    assert await probes.ask("database", lambda: None, 5) is None
    store.go.set()
    while await probes.ask("storage", store.check, 0.05) is not None:
        await asyncio.sleep(0.01)


async def test_what_a_check_raises_is_told_and_it_is_asked_again() -> None:
    probes, fault = Probes(), OSError("no such host")

    def fails() -> None:
        raise fault

    assert await probes.ask("storage", fails, 5) is fault
    assert await probes.ask("storage", lambda: None, 5) is None


def test_a_passed_forward_check_is_kept_and_a_failed_one_is_not() -> None:
    now, runs, broken = 0.0, 0, True

    def run() -> None:
        nonlocal runs
        runs += 1
        if broken:
            raise RuntimeError

    check = ForwardCheck(run, clock=lambda: now)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            check()
    broken = False
    check()
    check()
    assert runs == 3
    now = FORWARD_SECONDS + 1
    check()
    assert runs == 4
