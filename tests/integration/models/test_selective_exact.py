"""The certificate against its procedure done one threshold at a time, its table against the exact test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.selective import CalibrationTable
from models.selective.certify import allowed_errors, certified_step, certifies_any
from tests.unit.models.selective.test_selective import fewest


@pytest.mark.parametrize(
    ("risk", "level"), [(0.02, 0.0025), (0.01, 0.05), (0.3, 0.1), (0.9, 0.5), (0.001, 0.01)]
)
def test_allowed_errors_are_those_that_pass_the_exact_test(risk: float, level: float) -> None:
    allowed = allowed_errors(600, risk, level)
    for k in range(601):
        tail = binom.cdf(np.arange(k), k, risk)
        assert allowed[k] == (tail <= level).sum() - 1


def brute_force(table: CalibrationTable, risk: float, confidence: float) -> float | None:
    """The procedure as its text says it, one threshold at a time."""
    delta, n = 1 - confidence, table.n
    found = []
    a = fewest(risk, delta / 4, errors=2)
    starts = [(a, delta / 4), (None, 3 * delta / 4)] if a <= n / 3 else [(None, delta)]
    for start, level in starts:
        begin = start or max(math.ceil(n / 2), fewest(risk, level, errors=0))
        for threshold, k, e in zip(table.thresholds, table.answered, table.wrong, strict=True):
            if k < begin:
                continue
            if binom.cdf(e, k, risk) > level:
                break
            found.append(float(threshold))
    return min(found, default=None)


@given(
    st.integers(30, 700),
    st.sampled_from([(0.02, 0.99), (0.1, 0.9), (0.05, 0.5), (0.3, 0.95)]),
    st.integers(0, 10_000),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_certificate_is_the_procedure_step_by_step(
    n: int, target: tuple[float, float], seed: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    rank = rng.random(n)
    correct = rng.random(n) >= rng.choice([0.05, 0.3]) * rank**4
    scores = -np.ceil(rank * 12) if ties else -rank
    table = CalibrationTable.build(scores, correct)
    step = certified_step(table, *target)
    assert (None if step is None else float(table.thresholds[step])) == brute_force(table, *target)
    for risk in (1e-4, target[0], 0.2, 0.6, 0.99):
        some = certified_step(table, risk, target[1]) is not None
        assert certifies_any(table, risk, target[1]) == some
