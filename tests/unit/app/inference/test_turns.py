"""Quick engines on the event loop: what came in one turn goes together, bounded, each gets its own."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from app.inference import Explain, Scores
from app.inference.scheduling.batcher import Ask
from app.inference.turns import MOST, QUICK_SECONDS, Turns, is_quick
from tests.unit.app.inference.doubles import EchoEngine, pictures


def test_what_came_in_one_turn_is_one_batch_and_each_gets_its_own() -> None:
    engine, turns = EchoEngine(), Turns()

    async def ask() -> list[float]:
        answers = await asyncio.gather(*(turns.submit(Ask(engine, pictures(n))) for n in range(5)))
        return [float(answer.logits[0, 0]) for answer in answers]

    assert asyncio.run(ask()) == [0, 1, 2, 3, 4]
    assert engine.batches == [5]


def test_what_comes_one_turn_later_goes_with_it() -> None:
    engine, turns = EchoEngine(), Turns()

    async def ask(number: int) -> Scores:
        for _ in range(number % 2):
            await asyncio.sleep(0)
        return await turns.submit(Ask(engine, pictures(number)))

    async def both() -> None:
        await asyncio.gather(*(ask(number) for number in range(6)))

    asyncio.run(both())
    assert engine.batches == [6]


def test_a_turn_is_bounded_and_others_get_theirs_between_two() -> None:
    engine, turns, seen = EchoEngine(), Turns(), []

    async def ask() -> None:
        answers = [turns.submit(Ask(engine, pictures(n % 256))) for n in range(2 * MOST + 1)]
        while not all(answer.done() for answer in answers):
            seen.append(len(engine.batches))
            await asyncio.sleep(0)

    asyncio.run(ask())
    assert engine.batches == [MOST, MOST, 1]
    assert seen == [0, 0, 1, 2]  # the loop had a turn of its own before each


def test_engines_never_share_a_batch() -> None:
    one, other, turns = EchoEngine(), EchoEngine(), Turns()

    async def ask() -> list[Scores]:
        return await asyncio.gather(*(turns.submit(Ask(e, pictures(7))) for e in (one, other, other)))

    assert len(asyncio.run(ask())) == 3
    assert (one.batches, other.batches) == ([1], [2])


def test_one_who_left_is_not_run_and_a_failure_reaches_all_the_others() -> None:
    engine, turns = EchoEngine(failure=RuntimeError("broken")), Turns()

    async def ask() -> list[Scores | BaseException]:
        gone, *stay = [turns.submit(Ask(engine, pictures(n))) for n in range(3)]
        gone.cancel()
        return await asyncio.gather(*stay, return_exceptions=True)

    assert [str(answer) for answer in asyncio.run(ask())] == ["broken", "broken"]
    assert engine.batches == [2]
    assert turns.waiting == 0


def test_a_loop_that_ended_leaves_nothing_behind() -> None:
    engine, turns = EchoEngine(), Turns()

    async def leave() -> None:
        turns.submit(Ask(engine, pictures(1)))

    async def ask() -> Scores:
        return await turns.submit(Ask(engine, pictures(2)))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert float(asyncio.run(ask()).logits[0, 0]) == 2
    assert engine.batches[-1] == 1


class _Slow(EchoEngine):
    def run(self, images: np.ndarray, explain: Explain | None) -> Scores:
        time.sleep(2 * QUICK_SECONDS)
        return super().run(images, explain)


@pytest.mark.parametrize(("engine", "quick"), [(EchoEngine(), True), (_Slow(), False)])
def test_quick_is_what_runs_a_full_turn_in_time(engine: EchoEngine, quick: bool) -> None:
    assert is_quick(engine, pictures(1, 2, 3)) is quick
    assert set(engine.batches) == {MOST}
