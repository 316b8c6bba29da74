"""Promises by class: the procedure against its definition, its rows, and how often it is wrong."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.selective import (
    CalibrationTable,
    ClassPromise,
    Selection,
    certify,
    certify_classes,
    samples_at_least,
)
from models.types import Floats
from tests.support.tails import at_least, at_most

CLASSES = ("ant", "bee", "cat")


class Split(NamedTuple):
    """True and predicted labels and scores of a calibration split, by sample."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: Floats

    def tables(self, labels: NDArray[np.int64]) -> dict[str, CalibrationTable]:
        right = self.true == self.predicted
        return {
            CLASSES[k]: CalibrationTable.build(self.scores[labels == k], right[labels == k])
            for k in np.unique(labels)
        }

    def certify(
        self, *, max_risk: float | None = None, max_missed: float | None = None, confidence: float = 0.9
    ) -> Selection:
        return certify_classes(
            CLASSES,
            self.tables(self.predicted),
            self.tables(self.true),
            max_risk=max_risk,
            max_missed=max_missed,
            confidence=confidence,
        )

    def answered(self, selection: Selection) -> NDArray[np.bool_]:
        assert selection.class_thresholds is not None
        least = [math.inf if t is None else t for t in selection.class_thresholds.values()]
        return np.isfinite(self.scores) & (self.scores >= np.array(least)[self.predicted])


def draw(n: int, seed: int, *, accuracy: float = 0.9, rare: float = 0.3) -> Split:
    """Wrong answers are less sure; `rare` is the share of the last class."""
    rng = np.random.default_rng(seed)
    true = rng.choice(3, n, p=[0.4, 0.6 - rare, rare])
    wrong = rng.random(n) >= accuracy
    predicted = np.where(wrong, (true + rng.integers(1, 3, n)) % 3, true)
    scores = -rng.exponential(np.where(wrong, 1.0, 0.3))
    scores[rng.random(n) < 0.02] = math.nan
    return Split(true, predicted, scores)


splits = st.builds(
    draw,
    st.integers(3, 600),
    st.integers(0, 10_000),
    accuracy=st.sampled_from([0.5, 0.9, 0.99]),
    rare=st.sampled_from([0.0, 0.02, 0.3]),
)


def promise_of(selection: Selection, label: str, statement: str) -> ClassPromise:
    (promise,) = (p for p in selection.promises if (p.label, p.statement) == (label, statement))
    return promise


# what is counted


@given(splits, st.sampled_from([0.05, 0.2]), st.sampled_from([None, 0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_the_rows_count_what_the_thresholds_answer(
    split: Split, max_risk: float, max_missed: float | None
) -> None:
    selection = split.certify(max_risk=max_risk, max_missed=max_missed)
    answered, wrong = split.answered(selection), split.true != split.predicted
    for k, label in enumerate(CLASSES):
        risk = promise_of(selection, label, "risk")
        assert risk.n == (split.predicted == k).sum()
        assert risk.n_answered == (answered & (split.predicted == k)).sum()
        assert risk.n_errors == (answered & wrong & (split.predicted == k)).sum()
        assert (selection.class_thresholds or {})[label] == risk.threshold
        if max_missed is not None:
            missed = promise_of(selection, label, "missed")
            assert missed.n == (split.true == k).sum()
            if missed.threshold is not None:  # at its own threshold; the others' are as high or higher
                assert (answered & wrong & (split.true == k)).sum() <= missed.n_errors
    assert (selection.point.n, selection.point.answered) == (len(split.true), answered.sum())
    assert selection.point.errors == (answered & wrong).sum()


# how it is certified


@given(splits, st.sampled_from([0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_alone_the_risk_of_each_class_is_a_certificate_at_a_third_of_delta(
    split: Split, max_risk: float
) -> None:
    selection = split.certify(max_risk=max_risk, confidence=0.9)
    for label, table in split.tables(split.predicted).items():
        expected = certify(table, max_risk=max_risk, confidence=1 - 0.1 / 3).threshold
        assert promise_of(selection, label, "risk").threshold == expected


@given(splits, st.sampled_from([0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_each_missed_threshold_is_the_lowest_that_passes_the_exact_test(
    split: Split, max_missed: float
) -> None:
    selection, level = split.certify(max_missed=max_missed, confidence=0.9), 0.1 / 3
    demands = {}
    for k, label in enumerate(CLASSES):
        missed = promise_of(selection, label, "missed")
        errors = split.scores[(split.true == k) & (split.predicted != k)]
        thresholds = np.array([-math.inf, *np.nextafter(errors[np.isfinite(errors)], math.inf)])
        passes = at_most((errors >= thresholds[:, None]).sum(1), missed.n, max_missed) <= level
        lowest = min(thresholds[passes], default=None)
        if missed.threshold is None:
            assert lowest is None
        else:
            demands[label] = missed.threshold
            assert (errors >= missed.threshold).sum() == missed.n_errors
            assert lowest is not None
            assert (errors >= lowest).sum() == missed.n_errors
    for label, threshold in (selection.class_thresholds or {}).items():
        assert threshold == max((t for other, t in demands.items() if other != label), default=-math.inf)


@given(splits)
@settings(max_examples=60, deadline=None)
def test_an_answer_has_at_least_the_score_that_the_other_classes_demand(split: Split) -> None:
    selection = split.certify(max_risk=0.2, max_missed=0.1)
    for label in CLASSES:
        risk = promise_of(selection, label, "risk").threshold
        demands = [promise_of(selection, other, "missed").threshold for other in CLASSES if other != label]
        assert risk is None or all(demand is None or risk >= demand for demand in demands)


def test_a_raised_threshold_that_no_walk_has_passed_is_not_certified() -> None:
    """All sure errors are of one class: what keeps its images leaves too few of the other's answers."""
    n = 200
    true = np.repeat([0, 1, 2], n)
    predicted = true.copy()
    predicted[:100] = 1  # ants that are called bees, and more surely than any bee
    scores = np.where(predicted != true, -0.1, -1.0) - np.arange(3 * n) * 1e-4
    both = Split(true, predicted, scores).certify(max_risk=0.4, max_missed=0.1)
    assert promise_of(both, "ant", "missed").threshold is not None
    assert promise_of(both, "bee", "risk").threshold is None
    assert (both.class_thresholds or {})["bee"] is None
    assert both.status == "partly_certified"


@pytest.mark.parametrize("statement", ["risk", "missed"])
def test_a_promise_is_broken_no_more_often_than_allowed(statement: str) -> None:
    """Three classes, whose share of errors is just above the wish at any threshold: the hardest case."""
    rng, delta, share, broken = np.random.default_rng(0), 0.3, 0.1, 0
    for _ in range(100):
        true = rng.integers(0, 3, 300)
        wrong = rng.random(300) < 1.02 * share
        split = Split(true, np.where(wrong, (true + 1) % 3, true), -rng.exponential(1, 300))
        wish = {"max_risk" if statement == "risk" else "max_missed": share}
        selection = split.certify(**wish, confidence=1 - delta)
        # The risk is above the wish at any threshold, the missed are where over 1/1.02 are answered.
        highest = math.inf if statement == "risk" else math.log(1 - 1 / 1.02)
        broken += any(p.threshold is not None and p.threshold < highest for p in selection.promises)
    assert at_least(broken, 100, delta) > 0.01
    assert broken > 0  # so the test can fail


# too few


def test_a_class_says_how_many_more_images_would_do() -> None:
    """Ant has ten images. A sixth of δ is for each statement, and 0.9^k ≤ 0.1 / 6 from k = 39 on."""
    true = np.repeat([0, 1, 2], [10, 200, 200])
    split = Split(true, true, -np.arange(410.0))
    selection = split.certify(max_risk=0.1, max_missed=0.1, confidence=0.9)
    assert samples_at_least(0.1, 1 - 0.1 / 6) == 39
    for statement in ("risk", "missed"):
        few = promise_of(selection, "ant", statement)
        assert (few.threshold, few.n, few.n_errors) == (None, 10, 0)
        assert few.needed == 29
        assert promise_of(selection, "bee", statement).threshold is not None
        enough = np.repeat([0, 1, 2], [39, 200, 200])
        again = Split(enough, enough, -np.arange(439.0)).certify(max_risk=0.1, max_missed=0.1)
        assert promise_of(again, "ant", statement).threshold is not None
    assert selection.status == "partly_certified"


def test_a_class_without_an_image_is_too_few() -> None:
    true = np.repeat([0, 1], 300)
    split = Split(true, true, -np.arange(600.0))
    selection = split.certify(max_risk=0.1, max_missed=0.1)
    for statement in ("risk", "missed"):
        none = promise_of(selection, "cat", statement)
        assert (none.threshold, none.n, none.needed) == (None, 0, samples_at_least(0.1, 1 - 0.1 / 6))
        assert none.to_json()["status"] == "too_few"
    assert (selection.class_thresholds or {})["cat"] is None


def test_where_errors_are_too_frequent_no_number_would_do() -> None:
    true = np.tile([0, 1, 2], 100)
    split = Split(true, np.roll(true, 1), -np.arange(300.0))
    selection = split.certify(max_risk=0.1)
    assert (selection.status, selection.point.answered) == ("not_certifiable", 0)
    assert [promise.needed for promise in selection.promises] == [None] * 3
    assert selection.point.risk_upper == 1.0


@given(splits, st.sampled_from([0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_what_is_needed_is_more_than_nothing(split: Split, share: float) -> None:
    for promise in split.certify(max_risk=share, max_missed=share).promises:
        assert promise.needed is None or (promise.needed > 0 and promise.threshold is None)


# bad input


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({}, "must be given"),
        ({"max_risk": 0.0}, "above 0 and below 1"),
        ({"max_missed": 1.0}, "above 0 and below 1"),
        ({"max_risk": 0.1, "max_missed": math.nan}, "above 0 and below 1"),
        ({"max_risk": 0.1, "confidence": 0.4}, "confidence must be"),
    ],
)
def test_a_wish_out_of_range_is_refused(wish: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        draw(30, 0).certify(**wish)
