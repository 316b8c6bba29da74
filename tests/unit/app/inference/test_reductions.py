"""From torch to less precision: asked for, measured, and only with a calibration of its own."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from app.inference import Calibration, Ground, Pair, Part
from app.inference.engines.upgrade import Proven
from app.inference.reductions import Reductions
from app.inference.types import Engine
from core.errors import Conflict
from models.data.store import Store
from tests.unit.app.inference.doubles import EchoEngine, Waiter

PAIR = Pair(Part("mdl_a", "models/mdl_a"), Part("mdl_e", "models/mdl_e"))


def reduced() -> EchoEngine:
    engine = EchoEngine()
    engine.calibration = Calibration("cal_own", 0.0, {}, {}, stands_for="cal_1")
    return engine


class Bench:
    """Reductions over one pair; `serving` is what answers for it."""

    def __init__(self, proven: Callable[[], Proven]) -> None:
        self.torch = EchoEngine()
        self.serving: Engine | None = self.torch
        self.calibrated: str | None = "cal_1"
        self.measured: list[str] = []
        self.paused = 0
        self.busy = False
        self.before_pause: Callable[[], object] = lambda: None
        self.proven = proven
        self.reductions = Reductions(
            ground=self._ground,
            reduce=self._reduce,
            busy=lambda: self.busy,
            current=lambda pair: self.serving,
            replace=self._replace,
        )

    def _ground(self, pair: Pair) -> Ground:
        if self.calibrated is None:
            raise Conflict("it has no calibration")
        return Ground(cast(Store, None), self.calibrated)

    def _reduce(
        self, pair: Pair, engine: Engine, ground: Ground, *, pause: Callable[[], None], stop: threading.Event
    ) -> Proven:
        assert engine is self.torch
        self.measured.append(ground.calibration)
        self.before_pause()
        pause()
        self.paused += 1
        return self.proven()

    def _replace(self, pair: Pair, old: Engine, new: Engine) -> bool:
        if self.serving is not old:
            return False
        self.serving = new
        return True

    def consider(self) -> None:
        """Consider the pair and wait for what comes of it."""
        self.reductions.consider(PAIR, self.torch)
        self.reductions._thread.submit(lambda: None).result(10)


@pytest.fixture
def bench() -> Iterator[Callable[[Callable[[], Proven]], Bench]]:
    made: list[Bench] = []

    def make(proven: Callable[[], Proven]) -> Bench:
        made.append(Bench(proven))
        return made[-1]

    yield make
    for one in made:
        one.busy = False
        one.reductions.close()


Maker = Callable[[Callable[[], Proven]], Bench]


def test_what_measures_up_takes_over_and_the_log_has_the_figures(
    bench: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    engine = reduced()
    made = bench(lambda: Proven(engine, "bf16, accuracy 0.9 on n = 40"))
    with caplog.at_level(logging.INFO):
        made.consider()
    assert made.serving is engine
    assert "model mdl_a is served by echo: bf16, accuracy 0.9 on n = 40" in caplog.text


def test_it_takes_over_from_onnx_runtime_too(bench: Maker) -> None:
    engine, onnx = reduced(), EchoEngine()

    def meanwhile() -> Proven:
        made.serving = onnx
        return Proven(engine, "good")

    made = bench(meanwhile)
    made.consider()
    assert made.serving is engine


def test_what_does_not_measure_up_is_not_measured_twice_for_the_same_calibration(
    bench: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    made = bench(lambda: Proven(None, "its accuracy less torch's is -0.0200"))
    made.consider()
    made.consider()
    assert made.serving is made.torch
    assert made.measured == ["cal_1"]
    assert "mdl_a is not served in less precision: its accuracy less torch's is -0.0200" in caplog.text
    made.calibrated = "cal_2"
    made.consider()
    assert made.measured == ["cal_1", "cal_2"]


def test_a_model_without_a_calibration_stays_as_it_is(bench: Maker, caplog: pytest.LogCaptureFixture) -> None:
    made = bench(lambda: Proven(reduced(), "good"))
    made.calibrated = None
    made.consider()
    assert made.serving is made.torch
    assert made.measured == []
    assert "it has no calibration" in caplog.text


def test_a_fault_of_the_library_leaves_torch(bench: Maker, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Proven:
        raise RuntimeError("no such kernel")

    made = bench(fails)
    made.consider()
    assert made.serving is made.torch
    assert "no such kernel" in caplog.text


@pytest.mark.parametrize("serving", [None, reduced()], ids=["out of memory", "already"])
def test_there_is_nothing_to_do(bench: Maker, serving: EchoEngine | None) -> None:
    made = bench(lambda: Proven(reduced(), "good"))
    made.serving = serving
    made.consider()
    assert made.serving is serving
    assert made.measured == []


def test_what_goes_out_of_the_cache_is_not_kept_in_line(bench: Maker) -> None:
    """A hundred loads of pairs that take turns in the cache, while another is measured."""
    made, busy = bench(lambda: Proven(reduced(), "good")), threading.Event()
    made.reductions._thread.submit(busy.wait, 10)
    gone = []
    for number in range(100):
        engine = EchoEngine()
        made.serving = None
        made.reductions.consider(Pair(Part(f"mdl_{number % 2}", "models/mdl"), None), engine)
        gone.append(weakref.ref(engine))
    del engine
    gc.collect()
    assert [one() for one in gone] == [None] * 100
    assert made.reductions._thread._work_queue.qsize() == 2
    busy.set()
    made.serving = made.torch
    made.consider()
    assert made.measured == ["cal_1"]


def test_no_engine_of_a_deleted_model_is_kept_in_line(bench: Maker) -> None:
    made, busy = bench(lambda: Proven(reduced(), "good")), threading.Event()
    made.reductions._thread.submit(busy.wait, 10)
    engine = EchoEngine()
    made.reductions.consider(PAIR, engine)
    gone = weakref.ref(engine)
    del engine
    made.reductions.forget("mdl_e")
    gc.collect()
    assert gone() is None
    busy.set()


def test_a_measurement_for_a_pair_that_went_out_of_memory_ends(
    bench: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    made = bench(lambda: Proven(reduced(), "good"))
    made.before_pause = lambda: setattr(made, "serving", None)
    made.consider()
    assert (made.measured, made.paused) == (["cal_1"], 0)
    assert "mdl_a is not served in less precision: it is no longer in memory" in caplog.text


def test_what_was_measured_for_an_earlier_calibration_is_measured_again(bench: Maker) -> None:
    """By the next plan it would be put out, and requests would wait for torch to be loaded again."""
    engine = reduced()

    def meanwhile() -> Proven:
        made.calibrated = "cal_2"
        return Proven(engine, "good")

    made = bench(meanwhile)
    made.consider()
    made.reductions._thread.submit(lambda: None).result(10)
    assert made.measured == ["cal_1", "cal_2"]
    assert made.serving is engine


def test_a_data_set_that_was_deleted_meanwhile_takes_nothing_back(bench: Maker) -> None:
    engine = reduced()

    def meanwhile() -> Proven:
        made.calibrated = None
        return Proven(engine, "good")

    made = bench(meanwhile)
    made.consider()
    assert made.serving is engine


def test_closing_ends_a_measurement_that_gives_way(bench: Maker, wait_until: Waiter) -> None:
    made = bench(lambda: Proven(reduced(), "good"))
    made.busy = True
    made.reductions.consider(PAIR, made.torch)
    wait_until(lambda: bool(made.measured), 10)
    made.reductions.close()
    assert made.paused == 0
    assert made.serving is made.torch
