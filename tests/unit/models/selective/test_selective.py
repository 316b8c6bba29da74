"""Scores, tables, certificates and curves: against definitions and known figures."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.selective import (
    CalibrationTable,
    ScoreNeedsErm,
    answer_all,
    certify,
    decide,
    log_probabilities,
    risk_coverage,
    samples_at_least,
    samples_needed,
    score,
)
from models.selective.certify import certified_step, walks
from tests.support.tails import at_least, at_most


def rising(n: int, seed: int = 0, exponent: float = 8.0) -> CalibrationTable:
    """Errors rise with the rank: 7 % of all, 2 % at 86 % coverage."""
    rng = np.random.default_rng(seed)
    rank = rng.random(n)
    return CalibrationTable.build(-rank, rng.random(n) >= 0.6 * rank**exponent)


samples = st.lists(
    st.tuples(st.sampled_from([-3.0, -2.0, -1.5, -1.0, -0.1, math.nan, -math.inf]), st.booleans()),
    min_size=1,
    max_size=40,
)


# scores


def test_a_log_probability_is_exact_next_to_one() -> None:
    (found,) = log_probabilities([[100.0, 0.0]], np.array([0]))
    assert found == pytest.approx(-math.exp(-100), rel=1e-12)
    assert found < 0


def test_a_log_probability_is_the_log_of_softmax() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7))
    labels = np.arange(50) % 7
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(log_probabilities(logits, labels), np.log(softmax[np.arange(50), labels]))


def test_every_score_gives_the_label_of_the_mask_tuned_model() -> None:
    masktune = np.array([[2.0, 0.0], [0.0, 1.0]])
    erm = np.array([[0.0, 3.0], [0.0, 9.0]])
    own, other = log_probabilities(masktune, np.array([0, 1])), log_probabilities(erm, np.array([0, 1]))
    for name, expected in {
        "max_softmax": own,
        "product": own + other,
        "minimum": np.minimum(own, other),
    }.items():
        scored = score(name, masktune, erm)  # type: ignore[arg-type]  # a literal, in a dict
        assert scored.labels.tolist() == [0, 1]
        assert np.array_equal(scored.scores, expected)


def test_the_product_tells_apart_what_float32_rounds_to_one() -> None:
    margins = np.linspace(20, 60, 1000)
    logits = np.stack([margins, np.zeros(1000)], 1).astype(np.float32)
    assert len(np.unique(score("product", logits, logits).scores)) == len(np.unique(logits[:, 0]))


def test_a_score_of_two_models_needs_both() -> None:
    with pytest.raises(ScoreNeedsErm):
        score("minimum", np.zeros((1, 2)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_abstains(bad: float) -> None:
    scored = score("minimum", np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[bad, 0.0], [1.0, 0.0]]))
    assert decide(scored.scores, -math.inf).tolist() == [False, True]


def test_without_a_threshold_nothing_is_answered() -> None:
    assert not decide([0.0, -1.0], None).any()


# the table


@given(samples)
@settings(max_examples=60, deadline=None)
def test_the_table_counts_what_decide_answers(pairs: list[tuple[float, bool]]) -> None:
    scores, correct = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    table = CalibrationTable.build(scores, correct)
    assert table.n == len(pairs)
    for threshold in (*table.thresholds, -0.5, -10.0, 1.0):
        answered = decide(scores, float(threshold))
        assert table.at(float(threshold)) == (answered.sum(), (answered & ~correct).sum())


@given(samples, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_samples_changes_nothing(pairs: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object
    tables = [CalibrationTable.build([p[0] for p in x], [p[1] for p in x]) for x in (pairs, shuffled)]
    assert tables[0].to_json() == tables[1].to_json()
    assert risk_coverage(tables[0]) == risk_coverage(tables[1])


def test_a_table_survives_json_bit_for_bit() -> None:
    table = rising(300)
    again = CalibrationTable.from_json(json.loads(json.dumps(table.to_json())))
    assert np.array_equal(again.thresholds, table.thresholds)
    assert again.id == table.id
    assert again.id != rising(300, seed=1).id


# the certificate


def test_the_starts_are_those_of_the_procedure() -> None:
    """An early start beyond a third of the split would cost the late one a quarter of its error."""
    early = fewest(0.02, 0.0025, errors=2)
    expected = {227: [], 228: [228], 500: [250], early: [-(-early // 2)], 2000: [early, 1000]}
    expected |= {3 * early - 1: [-(-(3 * early - 1) // 2)], 3 * early: [early, -(-3 * early // 2)]}
    assert {n: [walk.start for walk in walks(n, 0.02, 0.99)] for n in expected} == expected
    for n in (228, 500, early, 3 * early - 1):
        assert [walk.level for walk in walks(n, 0.02, 0.99)] == pytest.approx([0.01])
    for n in (3 * early, 2000):
        assert [walk.level for walk in walks(n, 0.02, 0.99)] == pytest.approx([0.0025, 0.0075])


def fewest(risk: float, level: float, *, errors: int) -> int:
    return next(k for k in range(errors + 1, 10_000) if at_most(errors, k, risk) <= level)


def test_a_certified_bound_is_below_the_requested_risk() -> None:
    found = certify(rising(2000), max_risk=0.02)
    assert found.status == "certified"
    assert found.point.risk_upper <= 0.02
    assert 0.7 < found.point.coverage < 0.9
    low, high = found.point.coverage_interval
    assert low < found.point.coverage < high


def test_too_few_samples_certify_nothing_and_say_how_many_it_takes() -> None:
    found = certify(rising(150), max_risk=0.02)
    assert (found.status, found.threshold, found.point.answered) == ("not_certifiable", None, 0)
    assert found.planning is not None
    assert found.planning.samples_at_least == 228
    assert found.planning.samples_needed is not None
    assert 228 <= found.planning.samples_needed < 2000
    assert found.planning.best_certifiable_risk is not None
    better = certify(rising(150), max_risk=found.planning.best_certifiable_risk)
    assert better.status == "certified"


def test_the_samples_needed_are_those_at_which_it_begins_to_work() -> None:
    needed = samples_needed(rising(20_000), 0.02, 0.99)
    assert needed is not None
    works = [
        sum(certified_step(rising(n, seed), 0.02, 0.99) is not None for seed in range(40))
        for n in (needed // 2, needed, 3 * needed)
    ]
    assert works[0] < works[1] < works[2]
    assert 8 <= works[1] <= 32


def test_a_split_of_unusable_scores_certifies_nothing() -> None:
    table = CalibrationTable.build(np.full(400, np.nan), np.ones(400, bool))
    assert certify(table, max_risk=0.5).status == "not_certifiable"
    assert risk_coverage(table).points == ()
    assert risk_coverage(table).aurc is None
    assert answer_all(table).point.answered == 0


def test_228_right_answers_are_the_least_for_two_percent_at_99() -> None:
    assert samples_at_least(0.02, 0.99) == 228
    assert samples_at_least(1e-9, 0.99) is None


@pytest.mark.parametrize("target", [(0.02, 0.99), (0.05, 0.9)])
def test_the_promise_is_kept_over_draws_and_the_naive_threshold_breaks_it(
    target: tuple[float, float],
) -> None:
    risk, confidence = target
    limit = (risk * 9 / 0.6) ** (1 / 8)  # the rank at which the risk of `rising` is the target
    broken = naive_broken = 0
    for seed in range(300):
        table = rising(1000, seed)
        step = certified_step(table, risk, confidence)
        broken += step is not None and -table.thresholds[step] > limit
        naive = np.flatnonzero(table.wrong <= risk * table.answered)[-1]
        naive_broken += -table.thresholds[naive] > limit
    assert at_least(broken, 300, 1 - confidence) > 0.01  # no evidence that it errs more than δ
    assert naive_broken > 90
