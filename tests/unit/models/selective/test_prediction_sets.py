"""Prediction sets: against the definition, and how many inputs of each class they cover."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from models.selective import PredictionSets, log_softmax


def build(own: dict[str, list[float]], coverage: float, n: dict[str, int] | None = None) -> PredictionSets:
    return PredictionSets.build(own, n or {label: len(logs) for label, logs in own.items()}, coverage)


@given(st.integers(0, 400), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=100, deadline=None)
def test_the_threshold_is_the_finite_sample_quantile_of_its_class(n: int, coverage: float) -> None:
    """⌈(n + 1)·coverage⌉ of the n samples have their class in the set."""
    logs = sorted((-np.random.default_rng(n).exponential(1, n)).tolist(), reverse=True)
    sets = build({"a": logs}, coverage)
    least = sets.thresholds["a"]
    covered = sum(log >= least for log in logs)
    rank = math.ceil(round((n + 1) * coverage, 6))
    assert (covered == rank) if rank <= n else (least == -math.inf)
    assert (n < sets.to_json()["samples_at_least"]) == (least == -math.inf)


def test_a_class_with_too_few_samples_is_in_every_set_and_named() -> None:
    sets = build({"rare": [-0.1] * 8, "common": [-0.1] * 9, "none": []}, 0.9)
    lowest = {"label": "common", "n": 9, "coverage": pytest.approx(0.05 ** (1 / 9))}
    figures = {"coverage": 0.9, "samples_at_least": 9, "lowest": lowest, "always": ["rare", "none"]}
    assert sets.to_json() == figures
    assert sets.labels(np.log([[0.001, 0.998, 0.001], [0.3, 0.1, 0.6]])) == [
        ["common", "rare", "none"],
        ["none", "rare"],
    ]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=5), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=50, deadline=None)
def test_the_lowest_coverage_is_the_beta_quantile_of_the_worst_class(n: list[int], coverage: float) -> None:
    sets = build({str(k): [-0.1] * size for k, size in enumerate(n)}, coverage)
    ranks = {k: math.ceil(round((size + 1) * coverage, 6)) for k, size in enumerate(n)}
    quantiles = {k: beta.ppf(0.05, ranks[k], n[k] + 1 - ranks[k]) for k in ranks if ranks[k] <= n[k]}
    if not quantiles:
        assert sets.lowest is None
        return
    assert sets.lowest is not None
    assert sets.lowest.coverage == pytest.approx(min(quantiles.values()))
    assert sets.lowest.n == n[int(sets.lowest.label)]
    assert quantiles[int(sets.lowest.label)] == pytest.approx(min(quantiles.values()))


def test_without_a_class_none_is_lowest() -> None:
    assert build({"a": []}, 0.9).to_json()["lowest"] is None


def test_the_likeliest_class_is_in_every_set() -> None:
    sets = build({"a": [-0.01] * 20, "b": [-0.01] * 20}, 0.9)
    assert sets.labels(np.log([[0.6, 0.4], [0.3, 0.7], [0.995, 0.005]])) == [["a"], ["b"], ["a"]]


def test_a_sample_without_an_output_counts_as_the_least_likely() -> None:
    """Of 20, three have no finite output: 0.9 takes 19, which the other 17 are not."""
    assert build({"a": [-0.1] * 17}, 0.9, {"a": 20}).thresholds["a"] == -math.inf
    assert build({"a": [-0.1] * 19}, 0.9, {"a": 20}).thresholds["a"] == -0.1


def test_an_output_that_is_not_finite_fits_no_class() -> None:
    sets = build({"a": [-0.1] * 20, "b": [-0.2] * 3}, 0.9)
    assert sets.labels(log_softmax([[math.nan, 1.0], [math.inf, 1.0]])) == [["b"], ["b"]]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_set_grows_with_its_coverage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = {label: sorted((-rng.exponential(1, 60)).tolist(), reverse=True) for label in "abc"}
    logs = log_softmax(rng.normal(size=(20, 3)))
    small, large = (build(own, coverage).labels(logs) for coverage in (0.6, 0.9))
    for few, many in zip(small, large, strict=True):
        assert [label for label in many if label in few] == few


@pytest.mark.parametrize("coverage", [0.0, 1.0, math.nan])
def test_a_coverage_out_of_range_is_refused(coverage: float) -> None:
    with pytest.raises(ValueError, match="coverage of sets"):
        build({"a": [-0.1]}, coverage)
