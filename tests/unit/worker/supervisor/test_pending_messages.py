"""Progress is thinned out; everything else is kept, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from masktune.contract.vocabulary import Stage
from worker.protocol import LogLine, ProgressReport
from worker.supervisor.recorder import PROGRESS_SECONDS, PendingMessages


def progress(step: int, *, advanced: bool = False, **metrics: float | None) -> ProgressReport:
    return ProgressReport(
        fraction=0.5,
        stage=Stage.ERM,
        stage_fraction=0.5,
        epoch=0,
        epochs=1,
        step=step,
        steps=100,
        images_per_second=None,
        eta_seconds=None,
        metrics=metrics,
        advanced=advanced,
    )


def log(text: str) -> LogLine:
    return LogLine(message=text)


def drain(pending: PendingMessages, now: float, *, everything: bool = False) -> list[int]:
    written = []
    while (message := pending.next(now, everything=everything)) is not None:
        assert isinstance(message, ProgressReport | LogLine)
        written.append(message.step if isinstance(message, ProgressReport) else int(message.message))
        pending.written(now)
    return written


def test_mere_progress_waits_for_its_time() -> None:
    pending = PendingMessages()
    pending.put(progress(1))
    assert drain(pending, 10.0) == [1]
    pending.put(progress(2))
    assert drain(pending, 10.0 + PROGRESS_SECONDS / 2) == []
    assert drain(pending, 10.0 + PROGRESS_SECONDS) == [2]


def test_the_end_of_an_epoch_never_waits_and_is_never_replaced() -> None:
    pending = PendingMessages()
    pending.put(progress(1))
    assert drain(pending, 0.0) == [1]
    pending.put(progress(2, advanced=True))
    pending.put(progress(3))
    assert drain(pending, 0.01) == [2]
    assert drain(pending, 0.01, everything=True) == [3]


def test_what_is_not_written_stays() -> None:
    pending = PendingMessages()
    pending.put(log("1"))
    assert pending.next(0.0) == pending.next(0.0) == log("1")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["progress", "epoch", "log"]), max_size=30))
def test_nothing_but_superseded_progress_is_dropped_and_order_holds(kinds: list[str]) -> None:
    pending = PendingMessages()
    for number, kind in enumerate(kinds):
        pending.put(log(str(number)) if kind == "log" else progress(number, advanced=kind == "epoch"))
    got = drain(pending, 0.0, everything=True)
    assert got == sorted(got)
    for number in set(range(len(kinds))) - set(got):
        assert kinds[number] == "progress"
        assert kinds[number + 1] in ("progress", "epoch")


def test_the_figures_of_an_epoch_are_never_replaced() -> None:
    """They come with the progress before the checkpoint's, and a curve with holes would be drawn."""
    pending = PendingMessages()
    for step in range(3):
        pending.put(progress(step, loss=1.0 / (step + 1)))
        pending.put(progress(step + 10))
        pending.put(progress(step + 20))
    assert drain(pending, 0.0, everything=True) == [0, 1, 2, 22]
