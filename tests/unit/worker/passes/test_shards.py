"""The loop over a pass: from the last shard to the first, without what is there when it comes to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from models.run import Progress, Stopped, ignore_progress
from worker.passes.shards import Arguments, OnProgress, compute_missing, put_shard, shard_key


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


def _parts(store: Artifacts, sharded: Numbers) -> list[str]:
    keys = (shard_key(sharded.key, number) for number in range(len(sharded.sizes)))
    return [store.file(key, "part").read_text() for key in keys]


def test_alone_it_computes_all_and_offers_them_in_the_other_order(store: Artifacts) -> None:
    sharded, offered, reports = Numbers([4, 4, 4, 2]), list[int](), list[Progress]()
    counts = compute_missing(sharded, store, reports.append, offered.extend)
    assert sharded.computed == [3, 2, 1, 0]
    assert offered == [0, 1, 2, 3]
    assert (counts.here, counts.others, counts.doubles) == (4, 0, 0)
    assert [(p.step, p.steps) for p in reports if p.checkpoint] == [(2, 14), (6, 14), (10, 14), (14, 14)]
    assert _parts(store, sharded) == ["0", "1", "2", "3"]


def test_what_others_have_put_meanwhile_is_left_out(store: Artifacts) -> None:
    sharded = Numbers([4] * 5, lambda number: number == 4 and [_put(store, sharded, n) for n in (0, 1, 2)])
    counts = compute_missing(sharded, store, ignore_progress, lambda _: None)
    assert sharded.computed == [4, 3]
    assert (counts.here, counts.others, counts.doubles) == (2, 3, 0)
    assert counts.in_words() == "2 shards were computed here, 3 by other workers"


def test_a_shard_that_is_put_while_it_is_computed_is_a_double(store: Artifacts) -> None:
    sharded = Numbers([4, 4, 4], lambda number: number == 1 and _put(store, sharded, 1))
    counts = compute_missing(sharded, store, ignore_progress, lambda _: None)
    assert (counts.here, counts.others, counts.doubles) == (3, 1, 1)
    assert "1 by other workers, 1 of them by both" in counts.in_words()


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
    counts = compute_missing(sharded, store, reports.append, lambda _: None)
    assert (counts.here, counts.others) == (10, 30)
    assert [p.step for p in reports] == list(range(31 * 4, 41 * 4, 4))
    assert store.listings == 2
    assert store.questions.count(shard_key(sharded.key, 0)) == 1  # when it was put


def test_a_pass_that_was_stopped_goes_on_with_what_is_missing(store: Artifacts) -> None:
    def stop(number: int) -> None:
        if number == 0:
            raise Stopped

    with pytest.raises(Stopped):
        compute_missing(Numbers([4, 4, 4], stop), store, ignore_progress, lambda _: None)
    resumed, reports = Numbers([4, 4, 4]), list[Progress]()
    compute_missing(resumed, store, reports.append, lambda _: None)
    assert resumed.computed == [0]
    assert reports[-1].step == 12
    assert (
        compute_missing(Numbers([4, 4, 4]), store, ignore_progress, lambda _: None).images_per_second is None
    )


@pytest.mark.parametrize(("sizes", "arguments"), [([4, 4], {}), ([4, 4, 4], None)])
def test_a_short_pass_and_one_that_nobody_else_can_make_are_not_offered(
    sizes: list[int], arguments: Arguments | None, store: Artifacts
) -> None:
    sharded = Numbers(sizes)
    sharded.arguments = arguments
    compute_missing(sharded, store, ignore_progress, lambda _: pytest.fail("it was offered"))


def test_a_pass_over_nothing_has_no_shard(store: Artifacts) -> None:
    assert compute_missing(Numbers([]), store, ignore_progress, lambda _: None).here == 0
