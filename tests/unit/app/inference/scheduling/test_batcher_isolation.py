"""All of an answer is its request's own, whoever shares the batch: label, score, ERM's word, map, class."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference import Explain, Scores
from app.inference.scheduling.batcher import Batcher, ForwardRequest, run
from tests.unit.app.inference.doubles import EchoEngine, pictures


class PairEngine(EchoEngine):
    """Everything it says of an image is of its first pixel alone; with `erm` False it has no ERM half."""

    def __init__(self, *, erm: bool = True, broken: Explain | None = None) -> None:
        super().__init__()
        self._erm, self._broken = erm, broken
        self.asked: list[Explain | None] = []

    def run(self, images: NDArray[np.uint8], explain: Explain | None, *, features: bool = False) -> Scores:
        self.asked.append(explain)
        if self._broken is not None and explain == self._broken:
            raise RuntimeError("this map cannot be made")
        scores = super().run(images, explain)
        first = images[:, 0, 0, 0].astype(np.float32)
        logits = np.stack([np.zeros_like(first), first / 10 - 1], 1)  # class 1 above 10
        erm = np.stack([first / 10 - 2, np.zeros_like(first)], 1) if self._erm else None  # class 0 above 20
        targets = None if explain is None else first.astype(np.int64)
        last_inputs = np.stack([first, -first], 1) if features else None
        return scores._replace(logits=logits, erm_logits=erm, targets=targets, features=last_inputs)


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(max_batch=8, max_waiting=40)
    yield made
    made.close()


def together(batcher: Batcher, engine: EchoEngine, asks: list[ForwardRequest]) -> list[Future[Scores]]:
    """They gather behind one that holds the engine."""
    engine.gate.clear()
    batcher.submit(ForwardRequest(engine, pictures(0)))
    assert engine.entered.wait(10)
    answers = [batcher.submit(ask) for ask in asks]
    engine.gate.set()
    return answers


def check(results: Scores, images: NDArray[np.uint8], explain: Explain | None, engine: EchoEngine) -> None:
    """It is what the engine says of these images where nobody else asks."""
    alone = engine.run(images, explain)
    for mine, whole in zip(results, alone, strict=True):
        np.testing.assert_array_equal(mine, whole)  # None equals None


@pytest.mark.parametrize("erm", [True, False])
@pytest.mark.parametrize("explain", [None, Explain("xgradcam"), Explain("xgradcam", 1)])
def test_each_of_a_batch_gets_all_of_its_own(batcher: Batcher, erm: bool, explain: Explain | None) -> None:
    engine = PairEngine(erm=erm)
    images = [pictures(1), pictures(15, 3), pictures(200, 7, 30), pictures(12)]
    answers = together(batcher, engine, [ForwardRequest(engine, one, explain) for one in images])
    results = [answer.result(10) for answer in answers]
    assert engine.batches == [1, 7]
    for one, scores in zip(images, results, strict=True):
        check(scores, one, explain, engine)


def test_features_go_to_whoever_asks_in_the_same_call(batcher: Batcher) -> None:
    engine, images = PairEngine(), [pictures(5), pictures(15, 3), pictures(200, 7)]
    asks = [ForwardRequest(engine, one, features=n > 0) for n, one in enumerate(images)]
    results = [answer.result(10) for answer in together(batcher, engine, asks)]
    assert engine.batches == [1, 5]
    for one, scores in zip(images[1:], results[1:], strict=True):
        np.testing.assert_array_equal(scores.features, engine.run(one, None, features=True).features)
    (in_pieces,) = run([ForwardRequest(engine, pictures(*range(9)), features=True)], 4)
    assert isinstance(in_pieces, Scores)
    assert in_pieces.features is not None
    assert in_pieces.features[:, 0].tolist() == [*range(9)]


def test_questions_that_differ_share_no_call_and_keep_their_order(batcher: Batcher) -> None:
    engine, kinds = PairEngine(), [None, Explain("xgradcam"), Explain("xgradcam", 0), Explain("gradcam")]
    asks = [ForwardRequest(engine, pictures(10 * n + 1, n), kinds[n % 4]) for n in range(4)]
    asks = [
        ForwardRequest(engine, pictures(60), kinds[1]),
        *asks[::-1][:3],
        ForwardRequest(engine, pictures(61), None),
    ]
    results = [answer.result(10) for answer in together(batcher, engine, asks)]
    assert len(engine.asked) == 1 + len({ask.explain for ask in asks})
    for ask, scores in zip(asks, results, strict=True):
        check(scores, ask.images, ask.explain, engine)


def test_a_question_that_fails_spoils_no_other_of_its_batch() -> None:
    bad = Explain("gradcam")
    engine = PairEngine(broken=bad)
    asks = [
        ForwardRequest(engine, pictures(1), bad),
        ForwardRequest(engine, pictures(2)),
        ForwardRequest(engine, pictures(3), bad),
    ]
    first, second, third = run(asks, 8)
    assert isinstance(first, RuntimeError)
    assert first is third
    assert isinstance(second, Scores)
    check(second, pictures(2), None, engine)


@pytest.mark.parametrize("explain", [None, Explain("xgradcam")])
def test_a_request_in_pieces_is_put_together_in_its_order(explain: Explain | None) -> None:
    engine, images = PairEngine(), pictures(*range(0, 130, 10))
    (results,) = run([ForwardRequest(engine, images, explain)], 4)
    assert engine.batches == [4, 4, 4, 1]
    assert isinstance(results, Scores)
    check(results, images, explain, engine)
