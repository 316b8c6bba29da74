"""Windows of inputs: how they double, how seldom they raise a false alarm, and what they find."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.selective import ALPHA, WINDOW, Look, Share, Windows
from models.selective.windows import inputs, look_level
from tests.support.tails import at_least

CALIBRATION = {"half": Share(500, 1000), "most": Share(950, 1000)}


def _usual(n: int) -> dict[str, Share]:
    return {name: Share(round(n * share.k / share.n), n) for name, share in CALIBRATION.items()}


def _lengths(windows: Windows, n: int) -> list[int]:
    return [look.inputs for look in windows.look(_usual(n), CALIBRATION)]


def test_two_windows_make_one_of_twice_the_length() -> None:
    windows = Windows()
    assert [_lengths(windows, WINDOW) for _ in range(8)] == [
        [50], [50, 100], [50], [50, 100, 200], [50], [50, 100], [50], [50, 100, 200, 400],
    ]  # fmt: skip
    assert windows.look_counts == {0: 8, 1: 4, 2: 2, 3: 1}


def test_a_window_ends_once_it_has_enough_inputs_however_they_come() -> None:
    windows = Windows()
    assert _lengths(windows, 20) == _lengths(windows, 20) == []
    assert inputs(windows.open) == 40
    assert _lengths(windows, 20) == [60]
    assert inputs(windows.open) == 0
    assert _lengths(windows, 1000) == [1000, 1060]


def test_its_json_goes_on_where_it_was() -> None:
    windows, again = Windows(), Windows()
    for n in (60, 50, 70, 10, 45, 300):
        again = Windows.from_json(json.loads(json.dumps(again.to_json())))
        assert windows.look(_usual(n), CALIBRATION) == again.look(_usual(n), CALIBRATION)
    assert windows == again


def test_the_levels_of_all_looks_add_up_to_alpha() -> None:
    levels = [look_level(doublings, number, ALPHA) for doublings in range(300) for number in range(1, 300)]
    assert ALPHA * 0.99 < sum(levels) < ALPHA
    first, later, long = look_level(0, 1, ALPHA), look_level(0, 500, ALPHA), look_level(9, 1, ALPHA)
    assert (first, later, long) == pytest.approx((0.0025, 2e-8, 0.01 / 220), rel=0.01)


def test_a_window_that_cannot_decide_costs_nothing() -> None:
    windows, few = Windows(), {"half": Share(1, 2)}
    for _ in range(3):
        assert windows.look({"half": Share(0, WINDOW)}, few) == []
    assert windows.look_counts == {}


def _served(rng: np.random.Generator, shares: tuple[float, float], n: int = WINDOW) -> dict[str, Share]:
    """`n` inputs with one score each, of which these shares are above the two thresholds."""
    ranks = rng.random(n)
    return {
        name: Share(int((ranks < share).sum()), n) for name, share in zip(CALIBRATION, shares, strict=True)
    }


def _inputs_until_drift(
    rng: np.random.Generator, shares: tuple[float, float], *, usual: int, most: int
) -> tuple[int, list[Look]]:
    """Inputs with these shares, after `usual` inputs like the split, until drift is found."""
    windows = Windows()
    for _ in range(usual // WINDOW):
        assert not any(look.drifted for look in windows.look(_served(rng, (0.5, 0.95)), CALIBRATION))
    for number in range(most // WINDOW):
        looks = windows.look(_served(rng, shares), CALIBRATION)
        if any(look.drifted for look in looks):
            return (number + 1) * WINDOW, looks
    raise AssertionError(f"{most} inputs have shown no drift")


@pytest.mark.parametrize("size", [100, 1000])
def test_all_looks_together_keep_the_level(size: int) -> None:
    rng, alarms, draws, alpha = np.random.default_rng(0), 0, 50, 0.2
    for _ in range(draws):
        windows, calibration = Windows(), _served(rng, (0.5, 0.95), size)
        for _ in range(16):
            looks = windows.look(_served(rng, (0.5, 0.95)), calibration, alpha=alpha)
            if any(look.drifted for look in looks):
                alarms += 1
                break
    assert at_least(alarms, draws, alpha) > 0.01  # no evidence of more alarms than in 20 % of the draws


def test_a_sudden_change_is_found_soon_though_many_usual_inputs_came_before() -> None:
    rng = np.random.default_rng(0)
    for usual in (0, 1000, 25_000):
        needed, looks = _inputs_until_drift(rng, (0.8, 0.99), usual=usual, most=300)
        assert needed <= 300
        assert looks[-1].inputs <= 200


def test_a_small_change_is_found_by_a_long_window_alone() -> None:
    windows, looks = Windows(), list[Look]()
    for _ in range(64):
        looks += windows.look({"half": Share(20, WINDOW), "most": Share(47, WINDOW)}, CALIBRATION)
        if looks[-1].drifted:
            break
    *others, longest = looks
    assert longest.drifted
    assert max(look.inputs for look in others) < longest.inputs == 16 * WINDOW
