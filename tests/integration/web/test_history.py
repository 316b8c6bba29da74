"""What is read of a long past: few pages, and all that is drawn of it."""

from __future__ import annotations

import asyncio
from itertools import islice, pairwise
from typing import Any

import pytest

from masktune import Event, ProgressEvent
from web.history import LOOKS, PAGE, TAIL, WHOLE, Fetch, beginning, past
from web.job_timeline import Story


class Told:
    """The events of a job, and how often a page of them was asked for."""

    def __init__(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        self.events = [
            Event.model_validate({"id": n, "type": type, "data": data})
            for n, (type, data) in enumerate(events, start=1)
        ]
        self.asked = 0

    async def fetch(self, after: int, limit: int) -> list[Event]:
        self.asked += 1
        assert limit <= PAGE
        return list(islice((event for event in self.events if event.id > after), limit))

    def thin(self) -> None:
        """As the service does of a job that ended days ago."""
        self.events = [e for e in self.events if not isinstance(e, ProgressEvent) or e.data.metrics.measured]


def _training(stage: str, epochs: int, steps: int) -> list[tuple[str, dict[str, Any]]]:
    """A stage with so many reports in each of its epochs."""
    told: list[tuple[str, dict[str, Any]]] = [("stage", {"stage": stage, "status": "started"})]
    for epoch in range(epochs):
        told += [("progress", {"stage": stage, "epoch": epoch, "metrics": {}})] * steps
        told += [("progress", {"stage": stage, "epoch": epoch + 1, "metrics": {"loss": 1.0 / (epoch + 1)}})]
    return [*told, ("stage", {"stage": stage, "status": "finished", "seconds": 1.0})]


def _looked_back(fetch: Fetch, upto: int) -> Story:
    story = Story()

    async def look() -> None:
        async for events in past(fetch, upto):
            for event in events:
                story.add(event)

    asyncio.run(look())
    return story


@pytest.mark.parametrize(("number", "start"), [(1, 0), (WHOLE, 0), (WHOLE + 1, WHOLE + 1 - TAIL)])
def test_a_short_job_is_read_from_its_first_event(number: int, start: int) -> None:
    assert beginning(number) == start


@pytest.mark.parametrize(("epochs", "steps"), [(10, 1000), (3, 20_000), (700, 30)])
def test_of_a_thinned_job_everything_that_is_left_is_read(epochs: int, steps: int) -> None:
    told = Told(_training("erm", epochs, steps) + _training("finetune", 2, steps))
    upto = len(told.events)
    told.thin()
    story = _looked_back(told.fetch, upto)
    assert [(e.stage, e.number) for e in story.epochs] == [
        *(("erm", n) for n in range(1, epochs + 1)),
        *(("finetune", n) for n in range(1, 3)),
    ]
    assert set(story.finished) == {"erm", "finetune"}
    assert told.asked == len(told.events) // PAGE + 1


def test_every_stage_and_every_epoch_of_a_slow_training_is_found() -> None:
    told = Told(_training("erm", 10, 1000) + _training("finetune", 2, 1000))
    story = _looked_back(told.fetch, len(told.events))
    assert [(e.stage, e.number) for e in story.epochs] == [
        *(("erm", n) for n in range(1, 11)),
        *(("finetune", n) for n in range(1, 3)),
    ]
    assert set(story.finished) == {"erm", "finetune"}
    assert told.asked < len(told.events) / PAGE


def test_of_many_epochs_some_are_read_from_the_first_to_the_last() -> None:
    told = Told(_training("erm", 30_000, 0))
    story = _looked_back(told.fetch, len(told.events))
    numbers = [e.number for e in story.epochs]
    assert told.asked <= LOOKS + 2
    assert numbers[0] == 1
    assert max(b - a for a, b in pairwise(numbers)) < 30_000 / 50
    points = story.charts[0].lines[0].points
    assert [x for x, _ in points] == numbers


def test_one_epoch_that_never_ends_costs_two_requests() -> None:
    told = Told([("progress", {"stage": "erm", "epoch": 0, "metrics": {}})] * 20_000)
    _looked_back(told.fetch, 19_000)
    assert told.asked == 2
