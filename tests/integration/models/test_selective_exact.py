"""The certificate against its procedure done one threshold at a time, its table against the exact test."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from models.selective import CalibrationTable
from models.selective.by_class import certify_classes
from models.selective.certify import certified_step, certifies_any, walks
from tests.unit.models.selective.test_selective import fewest


def by_allowed_errors(table: CalibrationTable, risk: float, confidence: float) -> int | None:
    """`certified_step` by the most errors that pass among k answered, worked out for every k of 0..n."""
    steps = []
    for walk in walks(table.n, risk, confidence):
        tails = (binom.cdf(np.arange(k), k, risk) <= walk.level for k in range(table.n + 1))
        allowed = np.array([tail.sum() - 1 for tail in tails])
        passes = (table.wrong <= allowed[table.answered]) | (table.answered < walk.start)
        last = len(passes) if passes.all() else int(passes.argmin())
        steps += [step for step in range(last) if table.answered[step] >= walk.start]
    return max(steps, default=None)


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
    assert step == by_allowed_errors(table, *target)
    assert (None if step is None else float(table.thresholds[step])) == brute_force(table, *target)
    for risk in (1e-4, target[0], 0.2, 0.6, 0.99):
        some = certified_step(table, risk, target[1]) is not None
        assert certifies_any(table, risk, target[1]) == some


def test_a_certificate_costs_by_the_steps_of_its_table_and_not_by_the_samples_that_it_counts() -> None:
    """No memory has a number for each of so many samples."""
    few = CalibrationTable(-np.arange(3.0), np.array([10, 1000, 10**6]), np.array([0, 0, 1]), 10**15)
    assert certified_step(few, 0.05, 0.99) == 2
    assert certified_step(few, 1e-7, 0.99) is None
    tables = {"a": few, "b": few}
    thresholds = certify_classes(("a", "b"), tables, tables, max_missed=0.05).class_thresholds
    assert thresholds == {"a": -math.inf, "b": -math.inf}
