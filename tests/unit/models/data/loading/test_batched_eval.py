"""Batches answered side by side: in order, at once, with the cores shared out, and ended when told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain

import pytest
import torch

from models.backbones.build import build_network
from models.data.loading.batched_eval import evaluating, map_batches, side_by_side
from models.data.loading.batches import Batch
from models.run import Progress, Run, Stopped
from tests.support.batches import Batches, noise

CPU = torch.device("cpu")


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def batches() -> Batches:
    """Seven of three images, and one of one."""
    return Batches(noise(22), 3)


def rows_of(batch: Batch) -> list[int]:
    found: list[int] = batch.rows.tolist()
    return found


def test_evaluation_is_in_float32_and_leaves_all_as_it_was() -> None:
    """A card's convolutions round to TF32 by default; training may."""
    network = build_network("small_cnn", classes=2, image_size=16).train()
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            torch.backends.cudnn.allow_tf32 = allowed
            with suppress(Stopped), evaluating(network):
                assert not torch.backends.cudnn.allow_tf32
                assert not network.training
                raise Stopped
            assert torch.backends.cudnn.allow_tf32 is allowed
            assert network.training
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("four_threads")
def test_answers_come_in_stored_order_and_the_last_report_is_whole() -> None:
    seen: list[Progress] = []
    found = list(map_batches(batches(), Run(on_progress=seen.append), rows_of))
    assert list(chain.from_iterable(found)) == list(range(22))
    assert (seen[-1].epoch, seen[-1].step, seen[-1].steps) == (1, 8, 8)


@pytest.mark.usefixtures("four_threads")
def test_as_many_as_there_are_threads_are_under_way_and_share_the_cores() -> None:
    together = threading.Barrier(4, timeout=20)

    def answer(batch: Batch) -> int:
        if batch.rows[0] < 12:
            together.wait()  # breaks unless four batches are answered at once
        return torch.get_num_threads()

    assert list(side_by_side(batches().epoch(None), CPU, answer)) == [1] * 8


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("apart", "together"), [(0.001, 0.004), (0.004, 0.001)])
def test_no_clock_decides_how_a_batch_is_answered(apart: float, together: float) -> None:
    """The arithmetic is that of one thread, whichever way would be quicker."""
    pixels = torch.zeros(1, 3, 4, 4)

    def answer(batch: Batch) -> tuple[int, bool, int]:
        beside = threading.current_thread().name.startswith("pass")
        time.sleep(apart if beside else together)
        return int(batch.rows), beside, torch.get_num_threads()

    single = (Batch(pixels, torch.zeros(1), torch.tensor([row])) for row in range(60))
    assert list(side_by_side(single, CPU, answer)) == [(row, True, 1) for row in range(60)]


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("fitting", "threads"), [(5, 1), (4, 1), (3, 2), (2, 2), (1, 4), (0.5, 4)])
def test_of_large_batches_as_many_are_under_way_as_fit_and_no_core_is_idle(
    monkeypatch: pytest.MonkeyPatch, fitting: float, threads: int
) -> None:
    monkeypatch.setattr("models.data.loading.batched_eval._AT_ONCE", int(fitting * 3 * 3 * 16 * 16))
    found = list(side_by_side(batches().epoch(None), CPU, lambda _: torch.get_num_threads()))
    assert found == [threads] * 8


@pytest.mark.usefixtures("four_threads")
def test_afterwards_torch_uses_the_threads_that_it_used_before() -> None:
    list(side_by_side(batches().epoch(None), CPU, rows_of))
    with ThreadPoolExecutor(1) as later:
        assert torch.get_num_threads() == later.submit(torch.get_num_threads).result() == 4


@pytest.mark.usefixtures("four_threads")
def test_what_an_answer_raises_is_raised_in_its_place() -> None:
    def answer(batch: Batch) -> list[int]:
        if 9 in rows_of(batch):
            raise LookupError("nine")
        return rows_of(batch)

    found = side_by_side(batches().epoch(None), CPU, answer)
    assert [next(found) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    with pytest.raises(LookupError, match="nine"):
        next(found)
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_it_stops_when_told_to() -> None:
    asked: list[int] = []
    run = Run(should_stop=lambda: len(asked) > 2)
    with pytest.raises(Stopped):
        asked.extend(chain.from_iterable(map_batches(batches(), run, lambda batch: _noted(asked, batch))))
    assert len(asked) < 22


def _noted(asked: list[int], batch: Batch) -> list[int]:
    asked.extend(rows_of(batch))
    return []


def test_nothing_is_asked_of_an_empty_pass() -> None:
    assert list(side_by_side(iter(()), CPU, rows_of)) == []


def test_the_number_of_threads_changes_no_answer() -> None:
    """Of sums that two threads round otherwise than one does."""

    def answer(batch: Batch) -> tuple[float, int]:
        return float(batch.images.sum()), len(batch.rows)

    pixels = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(5))
    parts = [Batch(pixels + row, torch.zeros(1), torch.tensor([row])) for row in range(20)]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = list(map(answer, parts))
        torch.set_num_threads(4)
        assert list(map(answer, parts)) != alone  # else this test would show nothing
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            assert list(side_by_side(iter(parts), CPU, answer)) == alone
            assert list(side_by_side(iter(parts[:1]), CPU, answer)) == alone[:1]
    finally:
        torch.set_num_threads(before)
