"""The run of a pass: it computes the shards that it takes, and at the end those that others did not put."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from core.storage.artifacts import Artifacts
from models.run import OnProgress, Progress, Stopped, ignore_progress
from worker.passes.shards import Arguments, PassRun, ShardCounts, Take, put_shard, shard_key

KEY = "jobs/job_1/work/numbers"


def _write(number: int, folder: Path) -> None:
    (folder / "part").write_text(str(number))


class Numbers:
    """A pass whose shards are files with their numbers; `before` is called with each before it is made."""

    name = title = "numbers"

    def __init__(self, sizes: Sequence[int], before: Callable[[int], object] = lambda _: None) -> None:
        self.key, self.sizes, self.before = "numbers", sizes, before
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


def _put(store: Artifacts, number: int) -> bool:
    return put_shard(store, KEY, number, partial(_write, number))


class Row:
    """What is left to take of a pass: `others` take these numbers before; `away` is how often nobody says."""

    def __init__(self, *, others: int = 0, away: int = 0) -> None:
        self.others, self.away = others, away
        self.shared = list[int]()
        self.counts = list[int]()

    def share(self, numbers: Sequence[int]) -> Take:
        self.shared = list(numbers)
        self.left = self.shared[self.others :]
        return self.take

    def take(self, count: int) -> list[int] | None:
        if self.away:
            self.away -= 1
            return None
        self.counts.append(count)
        taken, self.left = self.left[:count], self.left[count:]
        return taken


def _run(
    sharded: Numbers,
    store: Artifacts,
    on_progress: OnProgress = ignore_progress,
    share: Callable[[Sequence[int]], Take | None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> ShardCounts:
    return PassRun(sharded, store, KEY, on_progress, share=share, should_stop=should_stop).run()


def _parts(store: Artifacts, sharded: Numbers) -> list[str]:
    keys = (shard_key(KEY, number) for number in range(len(sharded.sizes)))
    return [store.file(key, "part").read_text() for key in keys]


@pytest.mark.parametrize("shared", [True, False])
def test_alone_it_computes_all(shared: bool, store: Artifacts) -> None:
    sharded, row, reports = Numbers([4, 4, 4, 2]), Row(), list[Progress]()
    counts = _run(sharded, store, reports.append, row.share if shared else lambda _: None)
    assert sharded.computed == [0, 1, 2, 3]
    assert row.shared == ([0, 1, 2, 3] if shared else [])
    assert counts[:3] == (4, 0, 0)
    assert [(p.step, p.steps) for p in reports if p.checkpoint] == [(4, 14), (8, 14), (12, 14), (14, 14)]
    assert _parts(store, sharded) == ["0", "1", "2", "3"]


def test_it_takes_few_shards_at_a_time_and_more_of_fast_ones(store: Artifacts) -> None:
    row = Row()
    _run(Numbers([4] * 100), store, share=row.share)
    assert row.counts[0] == 1
    assert max(row.counts) == 8


def test_what_others_took_and_put_is_left_out(store: Artifacts) -> None:
    sharded = Numbers([4] * 5, lambda number: number == 3 and [_put(store, n) for n in (0, 1, 2)])
    counts = _run(sharded, store, share=Row(others=3).share)
    assert sharded.computed == [3, 4]
    assert counts[:3] == (2, 3, 0)
    assert counts.in_words() == "2 shards were computed here, 3 by other workers"


def test_a_shard_that_is_put_while_it_is_computed_is_a_double(store: Artifacts) -> None:
    counts = _run(Numbers([4, 4, 4], lambda number: number == 1 and _put(store, 1)), store)
    assert counts[:3] == (3, 1, 1)
    assert "1 by other workers, 1 of them by both" in counts.in_words()


def test_what_others_took_is_left_to_them_and_awaited(store: Artifacts) -> None:
    def ends_meanwhile() -> bool:
        """Asked when the job has nothing else to do."""
        return not _put(store, 0)

    sharded = Numbers([4, 4, 4])
    counts = _run(sharded, store, share=Row(others=1).share, should_stop=ends_meanwhile)
    assert sharded.computed == [1, 2]
    assert counts[:3] == (2, 1, 0)


@pytest.mark.parametrize("stopped", [False, True])
def test_what_others_took_and_did_not_put_is_computed_at_the_end(stopped: bool, store: Artifacts) -> None:
    sharded = Numbers([4, 4, 4, 4])
    counts = _run(sharded, store, share=Row(others=2).share, should_stop=lambda: stopped)
    assert sharded.computed == [2, 3, 0, 1]
    assert counts[:3] == (4, 0, 0)


def test_while_the_database_is_away_it_goes_on_from_the_last_shard(store: Artifacts) -> None:
    sharded = Numbers([4] * 6)
    counts = _run(sharded, store, share=Row(away=2).share)
    assert sharded.computed == [5, 4, 0, 1, 2, 3], "none is computed twice"
    assert counts[:3] == (6, 0, 0)


def test_a_database_that_stays_away_costs_no_shard(store: Artifacts) -> None:
    sharded = Numbers([4] * 3)
    assert _run(sharded, store, share=Row(away=1000).share).here == 3
    assert sharded.computed == [2, 1, 0]


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
    sharded = Numbers([4] * 40, lambda number: number == 30 and [_put(store, n) for n in range(30)])
    reports = list[Progress]()
    counts = _run(sharded, store, reports.append, Row(others=30).share)
    assert counts[:2] == (10, 30)
    assert [p.step for p in reports] == list(range(31 * 4, 41 * 4, 4))
    assert store.listings == 2
    assert store.questions.count(shard_key(KEY, 0)) == 1  # when it was put


def test_a_pass_that_was_stopped_goes_on_with_what_is_missing(store: Artifacts) -> None:
    def stop(number: int) -> None:
        if number == 2:
            raise Stopped

    with pytest.raises(Stopped):
        _run(Numbers([4, 4, 4], stop), store)
    resumed, reports = Numbers([4, 4, 4]), list[Progress]()
    _run(resumed, store, reports.append)
    assert resumed.computed == [2]
    assert reports[-1].step == 12
    assert _run(Numbers([4, 4, 4]), store).images_per_second is None


@pytest.mark.parametrize(("sizes", "arguments"), [([4, 4], {}), ([4, 4, 4], None)])
def test_a_short_pass_and_one_that_nobody_else_can_make_are_not_shared(
    sizes: list[int], arguments: Arguments | None, store: Artifacts
) -> None:
    sharded = Numbers(sizes)
    sharded.arguments = arguments
    _run(sharded, store, share=lambda _: pytest.fail("it was shared"))


def test_a_pass_over_nothing_has_no_shard(store: Artifacts) -> None:
    assert _run(Numbers([]), store).here == 0
