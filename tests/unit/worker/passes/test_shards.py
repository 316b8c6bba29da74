"""The loop over a pass: from the last shard to the first, without what is there when it comes to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from models.run import Progress, Stopped, ignore_progress
from worker.passes.shards import (
    Arguments,
    OnProgress,
    ShardCounts,
    compute_missing,
    compute_shard,
    put_shard,
    shard_key,
)


def _write(number: int, folder: Path) -> None:
    (folder / "part").write_text(str(number))


class Numbers:
    """A pass whose shards are files with their numbers; `before` is called with each before it is made."""

    name = title = "numbers"

    def __init__(self, sizes: Sequence[int], before: Callable[[int], object] = lambda _: None) -> None:
        self.key, self.sizes, self.before = "jobs/job_1/work/numbers", sizes, before
        self.arguments: Arguments | None = {}
        self.computed: list[int] = []

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        for number in numbers:
            self.before(number)
            self.computed.append(number)
            yield number, partial(_write, number)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    address = f"file://{tmp_path}/a" if request.param == "file" else f"memory://{tmp_path.name}"
    return Artifacts(address, cache=tmp_path / "cache")


def _put(store: Artifacts, sharded: Numbers, number: int) -> bool:
    return put_shard(store, sharded, number, partial(_write, number))


def _begin(store: Artifacts, sharded: Numbers, numbers: Sequence[int]) -> None:
    """Begin these shards as helpers do whose processes are then killed."""

    def end(_: int) -> None:
        raise KeyboardInterrupt

    for number in numbers:
        with pytest.raises(KeyboardInterrupt):
            compute_shard(Numbers(sharded.sizes, end), store, number, attempt="0-1")


def _compute_missing(
    sharded: Numbers,
    store: Artifacts,
    on_progress: OnProgress = ignore_progress,
    offer: Callable[[Sequence[int]], bool] = lambda _: True,
    should_stop: Callable[[], bool] = lambda: False,
) -> ShardCounts:
    return compute_missing(sharded, store, on_progress, offer, attempt="0-1", should_stop=should_stop)


def _parts(store: Artifacts, sharded: Numbers) -> list[str]:
    keys = (shard_key(sharded.key, number) for number in range(len(sharded.sizes)))
    return [store.file(key, "part").read_text() for key in keys]


def test_alone_it_computes_all_and_offers_them_in_the_other_order(store: Artifacts) -> None:
    sharded, offered, reports = Numbers([4, 4, 4, 2]), list[int](), list[Progress]()

    def offer(numbers: Sequence[int]) -> bool:
        offered.extend(numbers)
        return True

    counts = _compute_missing(sharded, store, reports.append, offer)
    assert sharded.computed == [3, 2, 1, 0]
    assert offered == [0, 1, 2, 3]
    assert (counts.here, counts.others, counts.doubles) == (4, 0, 0)
    assert [(p.step, p.steps) for p in reports if p.checkpoint] == [(2, 14), (6, 14), (10, 14), (14, 14)]
    assert _parts(store, sharded) == ["0", "1", "2", "3"]


def test_what_others_have_put_meanwhile_is_left_out(store: Artifacts) -> None:
    sharded = Numbers([4] * 5, lambda number: number == 4 and [_put(store, sharded, n) for n in (0, 1, 2)])
    counts = _compute_missing(sharded, store)
    assert sharded.computed == [4, 3]
    assert (counts.here, counts.others, counts.doubles) == (2, 3, 0)
    assert counts.in_words() == "2 shards were computed here, 3 by other workers"


def test_a_shard_that_is_put_while_it_is_computed_is_a_double(store: Artifacts) -> None:
    sharded = Numbers([4, 4, 4], lambda number: number == 1 and _put(store, sharded, 1))
    counts = _compute_missing(sharded, store)
    assert (counts.here, counts.others, counts.doubles) == (3, 1, 1)
    assert "1 by other workers, 1 of them by both" in counts.in_words()


def test_what_others_have_begun_is_left_to_them_and_awaited(store: Artifacts) -> None:
    def ends_meanwhile() -> bool:
        """Asked when the job has nothing else to do."""
        return not _put(store, sharded, 0)

    sharded = Numbers([4, 4, 4])
    _begin(store, sharded, [0])
    counts = _compute_missing(sharded, store, should_stop=ends_meanwhile)
    assert sharded.computed == [2, 1]
    assert (counts.here, counts.others, counts.doubles) == (2, 1, 0)


@pytest.mark.parametrize("stopped", [False, True])
def test_what_others_have_begun_and_left_is_computed_at_last(stopped: bool, store: Artifacts) -> None:
    sharded = Numbers([4, 4, 4, 4])
    _begin(store, sharded, [1, 2])
    counts = _compute_missing(sharded, store, should_stop=lambda: stopped)
    assert sharded.computed == [3, 0, 2, 1]
    assert (counts.here, counts.others, counts.doubles) == (4, 0, 0)


def test_nobody_begins_what_another_has_begun_in_the_same_attempt(store: Artifacts) -> None:
    first, second = Numbers([4, 4]), Numbers([4, 4])
    _begin(store, first, [1])
    doubles = [compute_shard(second, store, number, attempt="0-1") for number in (0, 1)]
    assert (doubles, second.computed) == ([False, False], [0])
    assert not compute_shard(second, store, 1, attempt="0-2")
    assert _parts(store, second) == ["0", "1"]


def test_a_helper_says_that_the_job_did_not_wait_for_its_shard(store: Artifacts) -> None:
    sharded = Numbers([4, 4], lambda number: _put(store, sharded, number))
    assert compute_shard(sharded, store, 0, attempt="0-1")


class SlowStore(Artifacts):
    """One that takes a while to list what is there; `questions` are the keys that it was asked for."""

    listings, questions = 0, tuple[str, ...]()

    def names(self, key: str) -> set[str]:
        self.listings += 1
        time.sleep(0.2)
        return super().names(key)

    def exists(self, key: str) -> bool:
        self.questions += (key,)
        return super().exists(key)


def test_it_lists_what_is_there_seldom_and_asks_for_no_shard_that_it_has_listed(tmp_path: Path) -> None:
    store = SlowStore(f"memory://{tmp_path.name}", cache=tmp_path / "cache")
    sharded = Numbers([4] * 40, lambda number: number == 39 and [_put(store, sharded, n) for n in range(30)])
    reports = list[Progress]()
    counts = _compute_missing(sharded, store, reports.append)
    assert (counts.here, counts.others) == (10, 30)
    assert [p.step for p in reports] == list(range(31 * 4, 41 * 4, 4))
    assert store.listings == 2
    assert store.questions.count(shard_key(sharded.key, 0)) == 1  # when it was put
    assert sum("-begun-" in key for key in store.questions) == 10  # claims of those that it computes


def test_a_pass_that_was_stopped_goes_on_with_what_is_missing(store: Artifacts) -> None:
    def stop(number: int) -> None:
        if number == 0:
            raise Stopped

    with pytest.raises(Stopped):
        _compute_missing(Numbers([4, 4, 4], stop), store)
    resumed, reports = Numbers([4, 4, 4]), list[Progress]()
    _compute_missing(resumed, store, reports.append)
    assert resumed.computed == [0]
    assert reports[-1].step == 12
    assert _compute_missing(Numbers([4, 4, 4]), store).images_per_second is None


@pytest.mark.parametrize(("sizes", "arguments"), [([4, 4], {}), ([4, 4, 4], None)])
def test_a_short_pass_and_one_that_nobody_else_can_make_are_not_offered(
    sizes: list[int], arguments: Arguments | None, store: Artifacts
) -> None:
    sharded = Numbers(sizes)
    sharded.arguments = arguments
    _compute_missing(sharded, store, offer=lambda _: pytest.fail("it was offered"))


def test_a_pass_over_nothing_has_no_shard(store: Artifacts) -> None:
    assert _compute_missing(Numbers([]), store).here == 0
