"""Random places are those of splitmix64, bit for bit: a set on disk keeps a seed and counts, no places."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.masking.rule import random_masks, seed_of_set

_WORD = (1 << 64) - 1


def _splitmix64(state: int) -> int:
    """The next output behind `state`, on 64 bits without sign (Steele, Lea and Flood 2014)."""
    z = state + 0x9E3779B97F4A7C15 & _WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _WORD
    return z ^ z >> 31


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _places(count: int, row: int, pixels: int, *, seed: int) -> set[int]:
    """The pixels of the `count` least keys, as integers with a sign."""
    start = _splitmix64(row ^ _splitmix64(seed))
    keys = [_signed(_splitmix64(start + pixel & _WORD)) for pixel in range(pixels)]
    return set(sorted(range(pixels), key=keys.__getitem__)[:count])


def test_the_reference_is_the_published_generator() -> None:
    """Its first outputs from seed 0, as in Vigna's splitmix64.c."""
    golden = 0x9E3779B97F4A7C15
    assert [_splitmix64(n * golden & _WORD) for n in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@pytest.mark.parametrize("seed", [0, 1, 7, (1 << 62) + 3])
@pytest.mark.parametrize("count", [0, 1, 20, 63, 64])
def test_the_places_of_a_row_are_the_least_keys_of_the_generator(seed: int, count: int) -> None:
    """Whoever shares the batch."""
    rows, counts = [0, 1, 123_456_789], [count, 5, count]
    together = random_masks(torch.tensor(counts), torch.tensor(rows), (4, 16), seed=seed)
    for found, row, number in zip(together, rows, counts, strict=True):
        assert set(np.flatnonzero(found.numpy()).tolist()) == _places(number, row, 64, seed=seed)


def test_later_iterations_have_the_seeds_that_sets_on_disk_were_made_with() -> None:
    """A job that is gone on with compares them."""
    assert seed_of_set(9, 0) == 9
    found = [seed_of_set(seed, iteration) for seed, iteration in ((0, 1), (0, 2), (9, 1))]
    words = [
        np.random.SeedSequence(pair).generate_state(1, np.uint64)[0] for pair in ([0, 1], [0, 2], [9, 1])
    ]
    assert found == [int(word) // 2 for word in words]
    assert all(0 <= seed < 1 << 63 for seed in found), "they stand in JSON, and torch takes them with a sign"
    assert len({*found, 0, 9}) == 5
