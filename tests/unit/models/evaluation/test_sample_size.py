"""How many more samples would decide: against the interval of simulated samples of that size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.paired import paired_difference
from models.evaluation.verdict import POWER, growth_to_decide, look_confidence


def test_it_grows_with_the_square_of_the_width() -> None:
    narrow = growth_to_decide(0.1, 0.0, 0.2)
    assert narrow == pytest.approx(((1.959964 + 0.841621) / 1.959964) ** 2, rel=1e-5)
    assert growth_to_decide(0.1, -0.1, 0.3) == pytest.approx(4 * narrow)
    assert growth_to_decide(-0.1, -0.3, 0.1) == pytest.approx(4 * narrow)


def test_the_next_look_needs_more_for_its_wider_interval() -> None:
    same = growth_to_decide(0.1, -0.1, 0.3, confidence=0.975, next_confidence=0.975)
    assert growth_to_decide(0.1, -0.1, 0.3, confidence=0.975, next_confidence=0.99) > same


def test_all_looks_together_err_as_often_as_one() -> None:
    errors = [1 - look_confidence(look) for look in range(1, 2000)]
    assert errors[0] == pytest.approx(0.025)
    assert sum(errors) == pytest.approx(0.05, rel=1e-3)
    assert sum(errors) < 0.05


def test_a_difference_that_is_clear_needs_no_more_and_none_can_never_be_shown() -> None:
    assert growth_to_decide(0.5, 0.45, 0.55) == 1
    assert growth_to_decide(0.0, -0.1, 0.1) == math.inf


def test_so_many_samples_decide_with_the_stated_chance() -> None:
    """Of two models that differ by 10 points, with three of ten answers discordant."""
    shares = np.array([0.6, 0.2, 0.1, 0.1])
    rng = np.random.default_rng(5)

    def outcomes(n: int) -> tuple[np.ndarray, np.ndarray]:
        cells = rng.choice(4, n, p=shares)
        return np.isin(cells, (0, 1)), np.isin(cells, (0, 2))

    a, b = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], (60, 20, 10, 10), axis=0).T.astype(bool)
    measured = paired_difference(a, b, generator=rng)
    growth = growth_to_decide(measured.estimate, measured.low, measured.high)
    decided = [
        paired_difference(*outcomes(math.ceil(100 * growth)), generator=rng, resamples=1000).low > 0
        for _ in range(150)
    ]
    assert abs(np.mean(decided) - POWER) < 0.08
