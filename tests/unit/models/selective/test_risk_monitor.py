"""The monitor of a promised risk: false alarms and power are exact sums, not simulations."""

from __future__ import annotations

import numpy as np
import pytest

from models.selective.risk_monitor import RiskMonitor


def ever_said(monitor: RiskMonitor, risk: float, answers: int, *, status: str) -> float:
    """The probability that one start, looked at after every answer, ever says so, by dynamic programming over
    the number of errors."""
    probabilities, total = np.ones(1), 0.0
    for n in range(1, answers + 1):
        probabilities = np.append(probabilities, 0) * (1 - risk) + np.insert(probabilities, 0, 0) * risk
        probability = monitor._log_ratio(np.full(n + 1, n), np.arange(n + 1), above=status == "broken")
        reached = probability >= -np.log(monitor.delta)
        total += float(probabilities[reached].sum())
        probabilities[reached] = 0
    return total


def evidence(monitor: RiskMonitor, errors: list[bool]) -> float:
    return monitor._evidence_at(np.append(0, np.cumsum(errors)))


@pytest.mark.parametrize("max_risk", [0.02, 0.05, 0.45])
@pytest.mark.parametrize("status", ["broken", "holds"])
def test_a_risk_at_the_promise_is_misjudged_with_probability_delta(max_risk: float, status: str) -> None:
    monitor = RiskMonitor(max_risk, delta=0.05)
    probability = ever_said(monitor, max_risk, 300, status=status)
    assert 0 < probability <= 0.05


def test_a_smaller_risk_is_called_broken_less_often() -> None:
    monitor = RiskMonitor(0.1, delta=0.05)
    at, below = (ever_said(monitor, risk, 100, status="broken") for risk in (0.1, 0.05))
    assert below < at


@pytest.mark.parametrize("answers", [0, 1, 24, 25, 26, 49, 50, 130])
def test_an_answer_at_the_promised_risk_leaves_the_mean_evidence_as_it_is(answers: int) -> None:
    """So that it ever reaches 1/δ with a probability of at most δ, wherever the starts are."""
    monitor, rng = RiskMonitor(0.1, delta=0.05), np.random.default_rng(answers)
    errors = (rng.random(answers) < 0.3).tolist()
    before = evidence(monitor, errors) if errors else 1.0
    wrong, right = evidence(monitor, [*errors, True]), evidence(monitor, [*errors, False])
    assert 0.1 * wrong + 0.9 * right == pytest.approx(before)


def test_the_evidence_of_all_looks_is_that_of_each() -> None:
    monitor, rng = RiskMonitor(0.1, delta=0.05), np.random.default_rng(0)
    errors = (rng.random(225) < 0.2).tolist()
    wrong = np.append(0, np.cumsum(errors))
    each = [evidence(monitor, errors[:n]) for n in range(25, 226, 25)]
    assert monitor._evidence(wrong[::25]).tolist() == pytest.approx(each)


@pytest.mark.parametrize("history", [0, 1, 25, 200])
def test_a_doubled_risk_is_noticed_within_the_named_number(history: int) -> None:
    monitor = RiskMonitor(0.1, delta=0.01)
    starts = -(-history // 25)
    weight = 0.5 / (starts * (starts + 1)) if starts else 0.5
    answers = monitor.answers_to_notice(history)
    assert answers is not None
    one = RiskMonitor(0.1, 0.01 * weight)
    assert ever_said(one, 0.2, answers - 25, status="broken") >= 0.9
    assert ever_said(one, 0.2, answers - 26, status="broken") < 0.9


def test_it_names_the_answer_at_which_it_was_noticed_and_keeps_to_it() -> None:
    monitor = RiskMonitor(0.05, delta=0.01)
    errors = [False] * 20 + [True] * 12
    first = next(n for n in range(len(errors)) if monitor.judge(errors[: n + 1]).status == "broken")
    judgement = monitor.judge(errors + [False] * 2000, noticed_at=first)
    assert judgement.status == "broken"
    assert judgement.noticed_at == first
    assert (judgement.answers, judgement.errors) == (2032, 12)


def test_the_last_answer_is_looked_at_and_every_25th_is_named_as_it_was() -> None:
    monitor = RiskMonitor(0.05, delta=0.01)
    assert monitor.judge([True] * 10).noticed_at == 9
    assert monitor.judge([False] * 13 + [True] * 12 + [False] * 2000).noticed_at == 24
    assert RiskMonitor(0.001, delta=0.7).judge([True]).noticed_at == 0


def test_a_promise_of_one_half_can_be_broken_and_a_few_errors_at_the_end_undo_that_it_holds() -> None:
    assert RiskMonitor(0.5, delta=0.05).judge([True] * 40).status == "broken"
    monitor = RiskMonitor(0.1, delta=0.05)
    assert monitor.judge([False] * 60).status == "holds"
    assert monitor.judge([False] * 60 + [True] * 5).status == "not_enough"


def test_good_answers_are_no_credit_for_later_wrong_ones() -> None:
    monitor = RiskMonitor(0.05, delta=0.01)
    assert monitor.judge([False] * 2000 + [True] * 12).status == "broken"
    assert not monitor.notices(2012, 12)


def test_it_holds_once_enough_answers_are_right() -> None:
    monitor = RiskMonitor(0.05, delta=0.01)
    assert monitor.judge([]).status == "not_enough"
    assert monitor.judge([False] * 60).status == "not_enough"
    assert monitor.judge([False] * 300).status == "holds"


def test_the_order_decides_only_when_it_is_noticed() -> None:
    monitor, rng = RiskMonitor(0.1, delta=0.01), np.random.default_rng(0)
    errors = np.repeat([True, False], [10, 90])
    one, other = (monitor.judge(rng.permutation(errors).tolist()) for _ in range(2))
    assert one.answers == other.answers
    assert one.errors == other.errors == 10
