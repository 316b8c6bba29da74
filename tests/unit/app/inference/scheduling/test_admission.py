"""What requests may hold at a time: places, and bytes of images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.inference import Admission
from app.inference.scheduling.batcher import Batcher
from core.errors import Overloaded


class Clock:
    """Says what it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def queue() -> Iterator[Batcher]:
    batcher = Batcher(max_batch=4, max_waiting=3)
    yield batcher
    batcher.close()


def filled(admission: Admission) -> int:
    """As many as it lets in."""
    while not admission.full:
        admission.in_flight += 1
    return admission.in_flight


def test_a_burst_has_all_places() -> None:
    admission = Admission(5, 1, clock=Clock())
    for _ in range(1000):
        assert filled(admission) == 5
        admission.note_refusal()


def answer(admission: Admission, queue: Batcher, clock: Clock, seconds: float) -> None:
    """Fifty requests that enter and are answered after so long."""
    for _ in range(50):
        with admission.enter(queue, 1, 1):
            clock.now += seconds


def overloaded(most: int, queue: Batcher, clock: Clock, *, seconds: float) -> Admission:
    """An admission in an overload that has stood a bit longer than a tenth of a second, with nobody inside,
    whose answers took `seconds`."""
    admission = Admission(most, 1, clock=clock)
    answer(admission, queue, clock, seconds)
    for _ in range(5):
        assert filled(admission) == most
        admission.note_refusal()
        clock.now += 0.03125
    admission.in_flight = 0
    return admission


def test_an_overload_that_stands_has_a_third_of_them_until_it_is_over(queue: Batcher) -> None:
    clock = Clock()
    admission = overloaded(17, queue, clock, seconds=0.12)
    assert filled(admission) == 6
    clock.now += 0.9  # nobody was refused since, but who was may not be back yet
    assert filled(admission) == 6
    clock.now += 0.2
    assert filled(admission) == 17


def test_an_overload_whose_answers_are_quick_has_all_places(queue: Batcher) -> None:
    clock = Clock()
    admission = overloaded(17, queue, clock, seconds=0.09)
    assert filled(admission) == 17


def test_refusals_far_apart_are_bursts(queue: Batcher) -> None:
    clock = Clock()
    admission = Admission(4, 1, clock=clock)
    answer(admission, queue, clock, 60.0)
    for _ in range(10):
        admission.note_refusal()
        clock.now += 1.5
        assert filled(admission) == 4
        admission.in_flight = 0


def test_one_place_is_never_divided(queue: Batcher) -> None:
    clock = Clock()
    admission = Admission(1, 1, clock=clock)
    answer(admission, queue, clock, 60.0)
    admission.note_refusal()
    clock.now += 0.5
    admission.note_refusal()
    assert filled(admission) == 1


def test_what_others_hold_is_not_there_until_they_give_it_back(queue: Batcher) -> None:
    admission = Admission(9, 100)
    with admission.enter(queue, 1, 60), admission.enter(queue, 1, 40):
        with pytest.raises(Overloaded) as refused, admission.enter(queue, 1, 1):
            pass
        assert int(refused.value.headers["Retry-After"]) >= 1
        assert (admission.held_bytes, queue.waiting) == (100, 2)
    assert (admission.held_bytes, queue.waiting) == (0, 0)
    with admission.enter(queue, 1, 100):
        pass
    assert admission.held_bytes == 0


def test_who_is_alone_gets_any_number(queue: Batcher) -> None:
    """An image may be larger than the setting: it would be refused for ever."""
    admission = Admission(9, 10)
    with admission.enter(queue, 1, 66):
        with pytest.raises(Overloaded), admission.enter(queue, 1, 1):
            pass
    assert admission.held_bytes == 0


def test_who_finds_no_place_in_the_queue_holds_no_memory(queue: Batcher) -> None:
    admission = Admission(9, 100)
    with admission.enter(queue, 3, 1):
        with pytest.raises(Overloaded), admission.enter(queue, 1, 1):
            pass
        assert (admission.held_bytes, queue.waiting) == (1, 3)


def test_what_fails_gives_it_back_as_well(queue: Batcher) -> None:
    admission = Admission(9, 10)
    with pytest.raises(ValueError, match="no image"), admission.enter(queue, 1, 6):
        raise ValueError("no image")
    assert (admission.held_bytes, queue.waiting) == (0, 0)
