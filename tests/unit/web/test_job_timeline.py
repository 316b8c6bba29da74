"""A job told by its events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from masktune import Event
from web.job_timeline import LOG_LINES, JobTimeline

AT = datetime(2026, 3, 1, 9, 30, 5, tzinfo=UTC)


def _timeline(*events: tuple[str, dict[str, Any]]) -> JobTimeline:
    timeline = JobTimeline()
    for number, (type, data) in enumerate(events, start=1):
        timeline.add(Event.model_validate({"id": number, "type": type, "data": data, "at": AT}))
    return timeline


def _epoch(stage: str, number: int, loss: float) -> tuple[str, dict[str, Any]]:
    metrics = {"loss": loss, "accuracy": 0.5, "val_accuracy": 0.6}
    return "progress", {"stage": stage, "epoch": number, "fraction": 0.1, "metrics": metrics}


def test_epochs_become_curves_one_training_after_the_other() -> None:
    timeline = _timeline(_epoch("erm", 1, 2.0), _epoch("erm", 2, 1.0), _epoch("finetune", 1, 1.5))
    loss, accuracy = timeline.charts
    assert list(loss.lines[0].points) == [(1, 2.0), (2, 1.0), (3, 1.5)]
    assert loss.parts == [2.5]
    assert [line.name for line in accuracy.lines] == ["validation accuracy", "training accuracy"]


def test_progress_without_figures_draws_nothing() -> None:
    timeline = _timeline(("progress", {"stage": "erm", "fraction": 0.2, "metrics": {}}))
    assert timeline.charts == []
    assert timeline.progress.fraction == 0.2


def test_an_epoch_that_is_trained_again_replaces_what_came_after_it() -> None:
    timeline = _timeline(
        _epoch("erm", 1, 2.0), _epoch("erm", 2, 1.0), _epoch("erm", 3, 0.9), _epoch("erm", 2, 1.1)
    )
    assert [(e.number, e.loss) for e in timeline.epochs] == [(1, 2.0), (2, 1.1)]


def test_the_log_has_stages_states_and_messages() -> None:
    timeline = _timeline(
        ("state", {"state": "running", "attempt": 1}),
        ("stage", {"stage": "erm", "status": "started"}),
        ("log", {"message": "3 images were skipped"}),
        ("stage", {"stage": "erm", "status": "finished", "seconds": 12.34}),
        ("state", {"state": "failed", "attempt": 1, "error": {"detail": "the disk is full"}}),
        ("metrics", {"erm": {}}),
    )
    assert timeline.log == [
        (AT, "running"),
        (AT, "plain training started"),
        (AT, "3 images were skipped"),
        (AT, "plain training finished after 12.3 s"),
        (AT, "failed: the disk is full"),
    ]
    assert timeline.finished == {"erm": 12.34}


def test_a_long_log_keeps_its_end() -> None:
    timeline = _timeline(*[("log", {"message": str(n)}) for n in range(LOG_LINES + 50)])
    assert len(timeline.log) == LOG_LINES
    assert timeline.log[-1] == (AT, str(LOG_LINES + 49))


def test_events_may_come_in_any_order() -> None:
    told = [
        Event.model_validate({"id": number, "type": type, "data": data, "at": AT})
        for number, (type, data) in enumerate(
            [
                ("stage", {"stage": "erm", "status": "started"}),
                _epoch("erm", 1, 2.0),
                _epoch("erm", 2, 1.0),
                _epoch("erm", 2, 0.9),
                ("log", {"message": "the end"}),
            ],
            start=1,
        )
    ]
    timeline, backwards = JobTimeline(), JobTimeline()
    for event in told:
        timeline.add(event)
    for event in [*told[3:], *told[:3]]:
        backwards.add(event)
    assert backwards.log == timeline.log
    assert backwards.epochs == timeline.epochs
    assert [e.loss for e in timeline.epochs] == [2.0, 0.9]
    assert backwards.progress == told[3].data


def test_missing_epochs_leave_a_gap_in_the_curve() -> None:
    timeline = _timeline(_epoch("erm", 1, 2.0), _epoch("erm", 50, 1.0), _epoch("finetune", 3, 0.5))
    loss, _ = timeline.charts
    assert list(loss.lines[0].points) == [(1, 2.0), (50, 1.0), (53, 0.5)]
    assert loss.title.startswith("Training loss after 53 epochs")
