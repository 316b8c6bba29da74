"""Places in the queue: counted once, given back whatever becomes of the images, asked for before decoding."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from app.inference.scheduling.batcher import Batcher, ForwardRequest
from core.errors import Overloaded
from tests.unit.app.inference.doubles import EchoEngine, pictures


@pytest.fixture
def engine() -> Iterator[EchoEngine]:
    made = EchoEngine()
    yield made
    made.gate.set()


@pytest.fixture
def busy(engine: EchoEngine) -> Iterator[Batcher]:
    """Six places, and an engine that runs one image until its gate opens."""
    batcher = Batcher(max_batch=4, max_waiting=6)
    engine.gate.clear()
    batcher.submit(ForwardRequest(engine, pictures(0)))
    assert engine.entered.wait(10)
    yield batcher
    engine.gate.set()
    batcher.close()


def test_a_kept_place_is_taken_once(busy: Batcher, engine: EchoEngine) -> None:
    with busy.reserve(3) as reservation:
        first = busy.submit(ForwardRequest(engine, pictures(1, 2, 3)), reservation)
        second = busy.submit(ForwardRequest(engine, pictures(4, 5, 6)))
        with pytest.raises(Overloaded):
            busy.submit(ForwardRequest(engine, pictures(7)))
    with pytest.raises(Overloaded):  # to leave the room gives back no more than was kept
        busy.submit(ForwardRequest(engine, pictures(7)))
    assert busy.waiting == 6
    engine.gate.set()
    assert [len(answer.result(10).logits) for answer in (first, second)] == [3, 3]
    assert busy.waiting == 0


def test_places_come_back_when_the_images_cannot_be_decoded(busy: Batcher, engine: EchoEngine) -> None:
    with pytest.raises(Overloaded), busy.reserve(6), busy.reserve(1):  # as anything that fails in there
        pass
    with busy.reserve(6):
        pass
    answer = busy.submit(ForwardRequest(engine, pictures(1, 2, 3, 4, 5, 6)))
    with pytest.raises(Overloaded), busy.reserve(1):
        pass
    engine.gate.set()
    assert len(answer.result(10).logits) == 6


def test_what_waits_is_answered_when_its_queue_closes(busy: Batcher, engine: EchoEngine) -> None:
    answers = [busy.submit(ForwardRequest(engine, pictures(n, n + 1))) for n in (1, 3, 5)]
    assert answers[1].cancel()
    engine.gate.set()
    busy.close()
    assert [answers[n].result(0).logits[:, 0].tolist() for n in (0, 2)] == [[1, 2], [5, 6]]
    assert sum(engine.batches) == 5


def test_a_slow_engine_has_smaller_batches(engine: EchoEngine) -> None:
    """It gains nothing by larger ones, and who comes next would wait for all of them."""
    batcher = Batcher(max_batch=20, max_waiting=100)
    engine.gate.clear()
    batcher.submit(ForwardRequest(engine, pictures(0)))
    assert engine.entered.wait(10)
    gathered = [batcher.submit(ForwardRequest(engine, pictures(n))) for n in range(12)]
    time.sleep(0.2)  # so long for one image
    engine.gate.set()
    assert [answer.result(10).logits[0, 0] for answer in gathered] == list(range(12))
    batcher.close()
    assert engine.batches == [1, 8, 4]


def test_rooms_that_were_left_shut_nobody_out_and_let_nobody_in(engine: EchoEngine) -> None:
    """Two requests of any size may wait for a slow engine, and no third: who decodes counts among them."""
    batcher = Batcher(max_batch=4, max_waiting=100, max_seconds=0.001)
    engine.gate.clear()
    first = batcher.submit(ForwardRequest(engine, pictures(0)))
    time.sleep(0.05)  # its pace
    engine.gate.set()
    first.result(10)
    for _ in range(3):
        with batcher.reserve(1):
            pass
    engine.entered.clear()
    engine.gate.clear()
    batcher.submit(ForwardRequest(engine, pictures(0)))
    assert engine.entered.wait(10)
    answers = []
    for _ in range(2):
        with batcher.reserve(4) as reservation:
            answers.append(batcher.submit(ForwardRequest(engine, pictures(1, 2, 3, 4)), reservation))
    with pytest.raises(Overloaded), batcher.reserve(4):
        pass
    engine.gate.set()
    assert [len(answer.result(10).logits) for answer in answers] == [4, 4]
    batcher.close()
