"""The starts of a certificate share its error: no split and no target spends more of it than allowed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.selective import CalibrationTable, samples_needed
from models.selective.certify import allowed_errors, certified_step, walks

RISK, CONFIDENCE = 0.02, 0.99
EARLY = next(k for k in range(3, 10_000) if binom.cdf(2, k, RISK) <= (1 - CONFIDENCE) / 4)
"""The fewest answered at which two errors pass at a quarter of the error."""


@given(
    st.integers(1, 3000),
    st.sampled_from([1e-3, 0.02, 0.05, 0.3, 0.9]),
    st.sampled_from([0.5, 0.9, 0.99, 0.999]),
)
@settings(max_examples=40, deadline=None)
def test_the_starts_spend_no_more_than_the_whole_error(n: int, risk: float, confidence: float) -> None:
    found = walks(n, risk, confidence)
    assert sum(walk.level for walk in found) <= (1 - confidence) * (1 + 1e-9)
    for walk in found:
        assert walk.start <= n
        assert binom.cdf(0, walk.start, risk) <= walk.level * (1 + 1e-9), "a start that no split passes"


@pytest.mark.parametrize("n", [EARLY, EARLY + 1, 2 * EARLY, 3 * EARLY - 1])
def test_an_early_start_beyond_a_third_of_the_split_costs_the_late_one_nothing(n: int) -> None:
    (late,) = walks(n, RISK, CONFIDENCE)
    assert late.start == math.ceil(n / 2)
    assert late.level == pytest.approx(1 - CONFIDENCE)


def test_an_early_start_at_a_third_of_the_split_has_its_quarter() -> None:
    early, late = walks(3 * EARLY, RISK, CONFIDENCE)
    assert (early.start, late.start) == (EARLY, math.ceil(3 * EARLY / 2))
    assert (early.level, late.level) == pytest.approx((0.0025, 0.0075))


def test_what_is_allowed_is_kept_and_cannot_be_changed() -> None:
    """It is shared by every certificate of the process that asks for as much."""
    allowed = allowed_errors(300, RISK, 0.01)
    assert allowed is allowed_errors(300, RISK, 0.01)
    with pytest.raises(ValueError, match="read-only"):
        allowed[-1] = 300


def test_the_last_threshold_that_passes_is_taken_whichever_start_reaches_it() -> None:
    """Six errors just behind the early start end its walk; the late one finds them few among so many."""
    right = np.ones(3000, bool)
    right[EARLY : EARLY + 6] = False
    table = CalibrationTable.build(-np.arange(3000.0), right)
    early, late = walks(3000, RISK, CONFIDENCE)
    step = certified_step(table, RISK, CONFIDENCE)
    assert step is not None
    assert early.start < EARLY + 6 < late.start < table.answered[step] == 3000
    assert binom.cdf(6, EARLY + 6, RISK) > early.level


def test_no_number_of_samples_is_promised_where_the_model_errs_too_often() -> None:
    """Half of the surest are wrong, and more samples would only show it better."""
    halves = np.arange(1000) % 2 == 1
    assert samples_needed(CalibrationTable.build(-np.arange(1000.0), halves), 0.1, 0.9) is None
    assert samples_needed(CalibrationTable.build(-np.arange(1000.0), np.ones(1000, bool)), 0.1, 0.9) == 22
    assert samples_needed(CalibrationTable.build(np.full(9, np.nan), np.ones(9, bool)), 0.1, 0.9) is None
