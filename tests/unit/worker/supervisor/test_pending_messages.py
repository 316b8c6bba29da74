"""Progress is thinned out; everything else is kept, in order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.protocol import Message
from worker.supervisor.pending_messages import PROGRESS_SECONDS, PendingMessages


def progress(step: int, *, advanced: bool = False) -> Message:
    return {"type": "progress", "message": str(step), "advanced": advanced}


def log(text: str) -> Message:
    return {"type": "log", "message": text}


def drain(pending: PendingMessages, now: float, *, everything: bool = False) -> list[str]:
    found = []
    while (message := pending.next(now, everything=everything)) is not None:
        found.append(message["message"])
        pending.written(now)
    return found


def test_a_newer_progress_replaces_the_one_before() -> None:
    pending = PendingMessages()
    for step in range(5):
        pending.put(progress(step))
    assert drain(pending, 0.0) == ["4"]


def test_mere_progress_waits_for_its_time() -> None:
    pending = PendingMessages()
    pending.put(progress(1))
    assert drain(pending, 10.0) == ["1"]
    pending.put(progress(2))
    assert drain(pending, 10.0 + PROGRESS_SECONDS / 2) == []
    assert drain(pending, 10.0 + PROGRESS_SECONDS) == ["2"]


def test_the_end_of_an_epoch_never_waits_and_is_never_replaced() -> None:
    pending = PendingMessages()
    pending.put(progress(1))
    assert drain(pending, 0.0) == ["1"]
    pending.put(progress(2, advanced=True))
    pending.put(progress(3))
    assert drain(pending, 0.01) == ["2"]
    assert drain(pending, 0.01, everything=True) == ["3"]


def test_what_is_not_written_stays() -> None:
    pending = PendingMessages()
    pending.put(log("a"))
    assert pending.next(0.0) == pending.next(0.0) == log("a")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["progress", "epoch", "log"]), max_size=30))
def test_nothing_but_superseded_progress_is_dropped_and_order_holds(kinds: list[str]) -> None:
    pending = PendingMessages()
    for number, kind in enumerate(kinds):
        pending.put(log(str(number)) if kind == "log" else progress(number, advanced=kind == "epoch"))
    got = [int(text) for text in drain(pending, 0.0, everything=True)]
    assert got == sorted(got)
    for number in set(range(len(kinds))) - set(got):
        assert kinds[number] == "progress"
        assert kinds[number + 1] in ("progress", "epoch")


def test_the_figures_of_an_epoch_are_never_replaced() -> None:
    """They come with the progress before the checkpoint's, and a curve with holes would be drawn."""
    pending = PendingMessages()
    for step in range(3):
        pending.put({"type": "progress", "message": f"epoch {step}", "metrics": {"loss": 1.0 / (step + 1)}})
        pending.put(progress(step))
        pending.put(progress(step + 10))
    seen = []
    while (message := pending.next(0.0, everything=True)) is not None:
        seen.append(message["message"])
        pending.written(0.0)
    assert seen == ["epoch 0", "epoch 1", "epoch 2", "12"]
