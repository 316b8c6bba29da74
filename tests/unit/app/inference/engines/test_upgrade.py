"""From torch to a graph: proven first, on real images, and only while torch is still what answers."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

from app.inference import Pair, Part
from app.inference.engines import graph_store as graphs
from app.inference.engines.upgrade import FEWEST, Proven, Squares, Upgrades
from app.inference.types import Engine
from core.errors import Conflict, Unavailable
from core.storage.artifacts import Artifacts
from tests.support.waits import wait_until
from tests.unit.app.inference.doubles import EchoEngine, pictures

PAIR = Pair(Part("mdl_a", "models/mdl_a"), Part("mdl_e", "models/mdl_e"))


class Bench:
    """Upgrades over graphs that are there; remembers what was compared and what replaced what."""

    def __init__(
        self,
        artifacts: Artifacts,
        samples: int,
        proven: Callable[[], Proven],
        again: Sequence[float] = (),
    ) -> None:
        for part in PAIR.parts:
            for key in (part.artifact, graphs.key(part.id)):
                with artifacts.writing(key) as folder:
                    (folder / graphs.FILE).write_bytes(b"graph")
        self.artifacts = artifacts
        self.torch = EchoEngine()
        self.serving: dict[Pair, Engine] = {PAIR: self.torch}
        self.compared: list[int] = []
        self.replaced: list[tuple[Engine, Engine]] = []
        self._samples, self._proven = samples, proven
        self.possible: Callable[[], bool] = lambda: True
        self.upgrades = Upgrades(
            artifacts,
            possible=lambda engine: self.possible(),
            prove=self._prove,
            samples=self._stored,
            current=self.serving.get,
            replace=self._replace,
            again=again,
        )

    def settle(self) -> None:
        """Wait for what is in line."""
        self.upgrades._thread.submit(int).result(10)

    def _prove(self, pair: Pair, engine: Engine, images: Squares) -> Proven:
        self.compared.append(len(images))
        return self._proven()

    def _stored(self, pair: Pair, size: int) -> Sequence[Squares]:
        return list(pictures(*range(self._samples))) if self._samples else []

    def _replace(self, pair: Pair, old: Engine, new: Engine) -> bool:
        self.replaced.append((old, new))
        return True


FASTER = EchoEngine()


@pytest.fixture
def bench(artifacts: Artifacts) -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(
            samples: int,
            proven: Callable[[], Proven] = lambda: Proven(FASTER, "equal"),
            again: Sequence[float] = (),
        ) -> Bench:
            made = Bench(artifacts, samples, proven, again)
            stack.callback(made.upgrades.close)
            return made

        yield make


def test_a_proven_graph_takes_over(bench: Callable[..., Bench]) -> None:
    made = bench(FEWEST)
    made.upgrades.consider(PAIR)
    wait_until(lambda: made.replaced == [(made.torch, FASTER)])
    assert made.compared == [FEWEST]


def test_without_stored_images_those_of_clients_are_collected(bench: Callable[..., Bench]) -> None:
    made = bench(0)
    made.upgrades.offer(made.torch, pictures(1))  # before anybody wants any
    made.upgrades.consider(PAIR)
    wait_until(lambda: bool(made.upgrades._collecting))
    for number in range(FEWEST):
        assert made.compared == []
        made.upgrades.offer(made.torch, pictures(number))
    wait_until(lambda: made.replaced == [(made.torch, FASTER)])
    assert made.compared == [FEWEST]
    made.upgrades.offer(made.torch, np.zeros((64, 3, 2, 2), np.uint8))
    assert made.compared == [FEWEST]


def test_nothing_is_collected_for_a_model_that_is_deleted(bench: Callable[..., Bench]) -> None:
    made = bench(0)
    made.upgrades.consider(PAIR)
    wait_until(lambda: bool(made.upgrades._collecting))
    made.upgrades.forget("mdl_e")
    made.upgrades.offer(made.torch, pictures(*range(FEWEST)))
    assert made.compared == []


@pytest.mark.parametrize("shown", [0, FEWEST - 1])
def test_what_goes_out_of_the_cache_is_not_kept_for_want_of_images(
    bench: Callable[..., Bench], shown: int
) -> None:
    """A hundred networks that one image each was sent to would stay in memory, whatever the budget says."""
    made = bench(0)
    pairs = [Pair(Part(f"mdl_{number}", PAIR.model.artifact), None) for number in range(3)]
    for part in (pair.model for pair in pairs):
        with made.artifacts.writing(graphs.key(part.id)) as folder:
            (folder / graphs.FILE).write_bytes(b"graph")
    engines, images = [], np.zeros((shown, 3, 2, 2), np.uint8)
    for pair in pairs:
        made.serving[pair] = engine = EchoEngine()
        engines.append(weakref.ref(engine))
        made.upgrades.consider(pair)
        made.settle()
        made.upgrades.offer(engine, images)
        del made.serving[pair], engine
    gc.collect()
    assert [engine() for engine in engines] == [None] * 3
    assert (made.compared, len(made.upgrades._collecting)) == ([], 0)


def test_pairs_that_take_turns_in_the_cache_wait_once_each(bench: Callable[..., Bench]) -> None:
    """A hundred loads while a graph is exported: no engine waits that is out, and none is tried twice."""
    made, busy = bench(FEWEST), threading.Event()
    made.upgrades._thread.submit(busy.wait, 10)
    gone = []
    for _ in range(100):
        made.serving[PAIR] = engine = EchoEngine()
        made.upgrades.consider(PAIR)
        gone.append(weakref.ref(engine))
    assert made.upgrades._thread._work_queue.qsize() == 1
    gc.collect()
    assert [one() for one in gone] == [None] * 99 + [engine]
    busy.set()
    made.settle()
    assert made.replaced == [(engine, FASTER)]


@pytest.mark.parametrize("out", ["before the export", "during the export"])
def test_nothing_is_done_for_an_engine_that_went_out(bench: Callable[..., Bench], out: str) -> None:
    made = bench(FEWEST)

    def go() -> bool:
        made.serving.clear()
        return True

    if out == "during the export":
        made.possible = go
    else:
        go()
    made.upgrades.consider(PAIR)
    made.settle()
    assert (made.compared, made.replaced) == ([], [])


def test_a_graph_that_differs_never_answers_and_is_not_tried_again(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    made = bench(FEWEST, lambda: Proven(None, "2 of 8 labels differ"))
    made.upgrades.consider(PAIR)
    wait_until(lambda: "2 of 8 labels differ" in caplog.text)
    made.upgrades.consider(PAIR)
    made.upgrades.close()
    assert (made.replaced, made.compared) == ([], [FEWEST])


def test_where_no_other_engine_runs_nothing_is_exported(
    bench: Callable[..., Bench], artifacts: Artifacts
) -> None:
    made = bench(FEWEST)
    made.possible = lambda: False
    artifacts.delete(graphs.key(PAIR.model.id))
    made.upgrades.consider(PAIR)
    made.settle()
    assert made.compared == []
    assert not artifacts.exists(graphs.key(PAIR.model.id))


def test_whatever_fails_leaves_torch_answering(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Proven:
        raise RuntimeError("the library has something against this graph")

    made = bench(FEWEST, fail)
    made.upgrades.consider(PAIR)
    wait_until(lambda: "something against" in caplog.text)
    assert made.replaced == []


def test_a_model_that_is_gone_stays_as_it_is(
    bench: Callable[..., Bench], artifacts: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    made = bench(FEWEST)
    for key in (PAIR.model.artifact, graphs.key(PAIR.model.id)):
        artifacts.delete(key)
    made.upgrades.consider(PAIR)
    wait_until(lambda: "are gone" in caplog.text)
    assert made.replaced == []


PASSING = [
    Unavailable("the GPU has no memory left for this now"),
    ConnectionError("the store is away"),
    TimeoutError("it does not answer"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_fault_that_passes_keeps_no_model_on_torch(bench: Callable[..., Bench], error: Exception) -> None:
    faults = [error, error]

    def prove() -> Proven:
        if faults:
            raise faults.pop()
        return Proven(FASTER, "equal")

    made = bench(FEWEST, prove, again=(0.01, 0.01))
    made.upgrades.consider(PAIR)
    wait_until(lambda: made.replaced == [(made.torch, FASTER)])
    assert made.compared == [FEWEST] * 3


def test_faults_with_a_success_between_them_are_counted_apart(bench: Callable[..., Bench]) -> None:
    """A store that is away once a month would keep a model on torch for good, in the end."""
    outcomes = [Unavailable("away"), None, Unavailable("away"), None]

    def prove() -> Proven:
        if (error := outcomes.pop(0)) is not None:
            raise error
        return Proven(FASTER, "equal")

    made = bench(FEWEST, prove, again=(0.01,))
    for loads in (1, 2):
        made.upgrades.consider(PAIR)
        wait_until(lambda: len(made.replaced) == loads)  # noqa: B023  # called in its turn


def test_a_fault_that_stays_is_not_tried_for_ever(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Proven:
        raise Unavailable("it never answers")

    made = bench(FEWEST, fail, again=(0.01, 0.01))
    made.upgrades.consider(PAIR)
    wait_until(lambda: "stays with torch: it never answers" in caplog.text)
    made.upgrades.consider(PAIR)
    made.settle()
    assert made.compared == [FEWEST] * 3


def test_a_load_does_not_try_what_is_to_be_tried_later(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """Pairs that take turns in a small memory would ask a store that is away at each load."""

    def fail() -> Proven:
        raise Unavailable("it does not answer")

    made = bench(FEWEST, fail, again=(600,))
    made.upgrades.consider(PAIR)
    wait_until(lambda: "it does not answer" in caplog.text)
    for _ in range(3):
        made.upgrades.consider(PAIR)
    made.settle()
    assert made.compared == [FEWEST]
    made.upgrades.forget(PAIR.model.id)
    assert made.upgrades._later == {}


def test_a_pair_that_was_out_when_its_time_came_is_tried_when_it_is_back(bench: Callable[..., Bench]) -> None:
    faults: list[Exception] = [Unavailable("it does not answer")]

    def prove() -> Proven:
        if faults:
            del made.serving[PAIR]
            raise faults.pop()
        return Proven(FASTER, "equal")

    made = bench(FEWEST, prove, again=(0.01,))
    made.upgrades.consider(PAIR)
    wait_until(lambda: not faults and not made.upgrades._later)
    made.settle()
    made.serving[PAIR] = made.torch
    made.upgrades.consider(PAIR)
    wait_until(lambda: made.replaced == [(made.torch, FASTER)])


def test_a_network_that_cannot_be_exported_is_not_tried_again(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Proven:
        raise Conflict("this network cannot be exported")

    made = bench(FEWEST, fail, again=(0.01, 0.01))
    made.upgrades.consider(PAIR)
    wait_until(lambda: "cannot be exported" in caplog.text)
    made.upgrades.consider(PAIR)
    made.settle()
    assert (made.compared, made.upgrades._later) == ([FEWEST], {})
