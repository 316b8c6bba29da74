"""The batcher: what has gathered goes together, each gets its own, the queue is bounded."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from app.inference.scheduling.batcher import Batcher, ForwardRequest
from core.errors import Overloaded, Unavailable
from tests.unit.app.inference.doubles import EchoEngine, pictures


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(max_batch=4, max_waiting=6)
    yield made
    made.close()


def _hold(batcher: Batcher, engine: EchoEngine) -> None:
    """Keep the engine busy with one image until its gate opens."""
    engine.gate.clear()
    batcher.submit(ForwardRequest(engine, pictures(0)))
    assert engine.entered.wait(10)


def _slow(batcher: Batcher, engine: EchoEngine) -> None:
    """Let the batcher know an engine as slow."""
    _hold(batcher, engine)
    time.sleep(0.2)
    engine.gate.set()
    batcher.submit(ForwardRequest(engine, pictures(0))).result(10)
    engine.entered.clear()


def test_an_idle_engine_starts_at_once_and_alone(batcher: Batcher) -> None:
    engine = EchoEngine()
    answer = batcher.submit(ForwardRequest(engine, pictures(7))).result(10)
    assert answer.logits.tolist() == [[7.0, -7.0]]
    assert engine.batches == [1]


def test_a_batch_is_bounded_and_a_request_stays_whole(batcher: Batcher) -> None:
    engine = EchoEngine()
    _hold(batcher, engine)
    first = batcher.submit(ForwardRequest(engine, pictures(1, 2, 3)))
    second = batcher.submit(ForwardRequest(engine, pictures(4, 5)))
    third = batcher.submit(ForwardRequest(engine, pictures(6)))
    engine.gate.set()
    assert [a.result(10).logits[:, 0].tolist() for a in (first, second, third)] == [[1, 2, 3], [4, 5], [6]]
    assert engine.batches == [1, 4, 2]


def test_an_answered_request_needs_no_collector_to_let_its_engine_go(batcher: Batcher) -> None:
    """A model that is loaded meanwhile freezes a cycle, which then holds the engine for good."""
    gc.disable()
    try:
        engine = EchoEngine()
        batcher.submit(ForwardRequest(engine, pictures(1))).result(10)
        freed = threading.Event()
        weakref.finalize(engine, freed.set)
        del engine
        assert freed.wait(10)
    finally:
        gc.enable()


def test_engines_never_share_a_batch(batcher: Batcher) -> None:
    one, other = EchoEngine(), EchoEngine()
    _hold(batcher, one)
    answers = [
        batcher.submit(ForwardRequest(engine, pictures(v))) for v, engine in ((1, one), (2, other), (3, one))
    ]
    one.gate.set()
    assert [a.result(10).logits[0, 0] for a in answers] == [1, 2, 3]
    assert (one.batches, other.batches) == ([1, 2], [1])


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(batcher: Batcher) -> None:
    engine = EchoEngine()
    _hold(batcher, engine)
    waiting = batcher.submit(ForwardRequest(engine, pictures(1, 2, 3, 4, 5)))
    with pytest.raises(Overloaded) as refusal:
        batcher.submit(ForwardRequest(engine, pictures(6, 7)))
    assert int(refusal.value.headers["Retry-After"]) >= 1
    with batcher.reserve(1):  # the last place is being decoded for
        with pytest.raises(Overloaded), batcher.reserve(1):
            pass
        with pytest.raises(Overloaded):
            batcher.submit(ForwardRequest(engine, pictures(6)))
    with pytest.raises(Overloaded), batcher.reserve(2):
        pass
    engine.gate.set()
    assert len(waiting.result(10).logits) == 5


def test_who_has_a_place_keeps_it_whoever_came_behind() -> None:
    batcher, engine = Batcher(max_batch=4, max_waiting=100, max_seconds=0.001), EchoEngine()
    _slow(batcher, engine)
    with batcher.reserve(1) as first, batcher.reserve(1), batcher.reserve(4):
        with pytest.raises(Overloaded):
            batcher.submit(ForwardRequest(engine, pictures(1)))
        assert len(batcher.submit(ForwardRequest(engine, pictures(1)), first).result(10).logits) == 1
    with batcher.reserve(100):  # and all places are free again
        pass
    with batcher.reserve(1) as late:
        batcher.close()
        with pytest.raises(Unavailable):
            batcher.submit(ForwardRequest(engine, pictures(1)), late)


def test_a_slow_engine_has_a_shorter_queue() -> None:
    batcher, engine = Batcher(max_batch=4, max_waiting=100, max_seconds=0.05), EchoEngine()
    _hold(batcher, engine)
    held = [
        batcher.submit(ForwardRequest(engine, pictures(value))) for value in range(8)
    ]  # its pace is not known yet
    time.sleep(0.3)
    engine.gate.set()
    for answer in held:
        answer.result(10)
    engine.entered.clear()
    _hold(batcher, engine)
    some = [batcher.submit(ForwardRequest(engine, pictures(value))) for value in range(3)]
    with pytest.raises(Overloaded):
        batcher.submit(ForwardRequest(engine, pictures(9)))
    engine.gate.set()
    assert [answer.result(10).logits[0, 0] for answer in some] == [0, 1, 2]
    batcher.close()


def test_who_sends_many_images_is_not_shut_out_by_one_other() -> None:
    batcher, engine = Batcher(max_batch=4, max_waiting=100, max_seconds=0.001), EchoEngine()
    _slow(batcher, engine)
    _hold(batcher, engine)
    large = [batcher.submit(ForwardRequest(engine, pictures(*range(4)))) for _ in range(2)]
    with pytest.raises(Overloaded):
        batcher.submit(ForwardRequest(engine, pictures(1)))
    engine.gate.set()
    assert [len(answer.result(10).logits) for answer in large] == [4, 4]
    batcher.close()


def test_a_request_larger_than_the_queue_gets_its_turn_when_nobody_waits(batcher: Batcher) -> None:
    engine = EchoEngine()
    assert len(batcher.submit(ForwardRequest(engine, pictures(*range(9)))).result(10).logits) == 9


def test_a_cancelled_request_frees_its_place_and_is_never_run(batcher: Batcher) -> None:
    engine = EchoEngine()
    _hold(batcher, engine)
    gone = batcher.submit(ForwardRequest(engine, pictures(1, 2, 3, 4, 5, 6)))
    assert batcher.waiting == 6
    assert gone.cancel()
    assert batcher.waiting == 0
    kept = batcher.submit(ForwardRequest(engine, pictures(7)))
    engine.gate.set()
    assert kept.result(10).logits[0, 0] == 7
    assert engine.batches == [1, 1]


def test_a_failure_reaches_everybody_in_the_batch_and_nobody_else(batcher: Batcher) -> None:
    engine = EchoEngine(failure=RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        batcher.submit(ForwardRequest(engine, pictures(1))).result(10)
    engine.failure = None
    assert batcher.submit(ForwardRequest(engine, pictures(2))).result(10).logits[0, 0] == 2


def test_closing_answers_what_was_accepted_and_accepts_nothing_more() -> None:
    batcher, engine = Batcher(max_batch=1, max_waiting=6), EchoEngine()
    answers = [batcher.submit(ForwardRequest(engine, pictures(value))) for value in (1, 2, 3)]
    batcher.close()
    assert [a.result(0).logits[0, 0] for a in answers] == [1, 2, 3]
    with pytest.raises(Unavailable):
        batcher.submit(ForwardRequest(engine, pictures(4)))
    with pytest.raises(Unavailable), batcher.reserve(1):
        pass
