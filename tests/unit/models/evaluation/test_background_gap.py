"""The gap between the two mixed variants of the Background Challenge, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation.background_gap import VariantPredictions, background_gap


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def of(right: NDArray[np.bool_], start: int = 0) -> VariantPredictions:
    return VariantPredictions(right, [f"dog/{n}.png" for n in range(start, start + len(right))])


def shares(k: int, n: int) -> NDArray[np.bool_]:
    return np.arange(n) < k


def test_independent_images_have_newcombes_interval() -> None:
    """56 of 70 and 48 of 80: the example of his paper's table II, (a), method 10."""
    found = background_gap(of(shares(56, 70)), of(shares(48, 80), 1000), generator=rng())
    assert not found.paired
    assert (found.gap, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert (found.correct_same, found.n_same, found.correct_random, found.n_random) == (56, 70, 48, 80)


def test_the_same_objects_are_compared_one_by_one_in_any_order() -> None:
    right = np.random.default_rng(1).random(400) < 0.8
    worse = right & (np.arange(400) % 10 > 0)
    turned = VariantPredictions(worse[::-1], of(worse).names[::-1])
    paired = background_gap(of(right), turned, generator=rng())
    apart = background_gap(of(right), of(worse, 1000), generator=rng())
    assert paired.paired
    assert paired == background_gap(of(right), of(worse), generator=rng())
    assert paired.gap == pytest.approx(apart.gap) == pytest.approx((right & ~worse).sum() / 400)
    assert paired.low > 0  # all that differ differ one way
    assert paired.high - paired.low < (apart.high - apart.low) / 1.5


def test_a_name_that_stands_twice_pairs_nothing() -> None:
    twice = VariantPredictions(shares(1, 2), ["dog/1.png", "dog/1.png"])
    assert not background_gap(twice, twice, generator=rng()).paired


def test_a_variant_without_an_image_has_no_gap() -> None:
    with pytest.raises(ValueError, match="mixed_rand"):
        background_gap(of(shares(1, 2)), of(shares(0, 0)), generator=rng())


@pytest.mark.parametrize("start", [0, 10_000])
def test_copies_of_each_image_say_no_more_than_one(start: int) -> None:
    right, worse = shares(160, 200), shares(130, 200)

    def copies(right: NDArray[np.bool_], start: int, times: int) -> VariantPredictions:
        names, clusters = of(np.repeat(right, times), start).names, np.repeat(np.arange(200), times)
        return VariantPredictions(np.repeat(right, times), names, clusters)

    alone, copied = (
        background_gap(copies(right, 0, times), copies(worse, start, times), generator=rng())
        for times in (1, 6)
    )
    assert copied.paired == (start == 0)
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=0.02)
