"""A request keeps its images together in a turn; what fails is raised to who asked for it, and no other."""

from __future__ import annotations

import asyncio

import pytest

from app.inference import Scores
from app.inference.scheduling.batcher import Ask
from app.inference.turns import MOST, Turns
from tests.unit.app.inference.doubles import EchoEngine, pictures


async def gathered(turns: Turns, asks: list[Ask]) -> list[Scores | BaseException]:
    return await asyncio.gather(*map(turns.submit, asks), return_exceptions=True)


def test_a_failure_is_raised_and_the_next_turn_goes_on() -> None:
    engine, turns = EchoEngine(failure=RuntimeError("broken")), Turns()

    async def ask() -> float:
        with pytest.raises(RuntimeError, match="broken"):
            await turns.submit(Ask(engine, pictures(1)))
        engine.failure = None
        return float((await turns.submit(Ask(engine, pictures(2)))).logits[0, 0])

    assert asyncio.run(ask()) == 2


def test_a_failing_engine_harms_nobody_who_asks_another() -> None:
    broken, sound, turns = EchoEngine(failure=RuntimeError("broken")), EchoEngine(), Turns()
    asks = [
        Ask(engine, pictures(n)) for n, engine in enumerate((sound, broken, sound, broken, broken, sound))
    ]
    found = asyncio.run(gathered(turns, asks))
    assert [isinstance(one, RuntimeError) for one in found] == [False, True, False, True, True, False]
    assert [float(one.logits[0, 0]) for one in found if isinstance(one, Scores)] == [0, 2, 5]
    assert (sound.batches, broken.batches) == ([1, 1, 1], [1, 2])


def test_a_request_of_several_images_is_whole_and_a_turn_has_its_bound() -> None:
    engine, turns = EchoEngine(), Turns()
    sizes = (MOST - 1, 1, MOST, 2, MOST - 1)
    asks = [Ask(engine, pictures(*range(10 * n, 10 * n + size))) for n, size in enumerate(sizes)]
    found = asyncio.run(gathered(turns, asks))
    assert engine.batches == [MOST, MOST, 2, MOST - 1]
    for number, (size, one) in enumerate(zip(sizes, found, strict=True)):
        assert isinstance(one, Scores)
        assert one.logits[:, 0].tolist() == list(range(10 * number, 10 * number + size))
