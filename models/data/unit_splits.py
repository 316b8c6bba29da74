"""Divide samples into stratified parts without cutting a unit: all samples of a subject, say.

This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def divide(
    units: NDArray[np.int64],
    strata: NDArray[np.int64],
    shares: Sequence[float],
    *,
    required: NDArray[np.integer[Any]] | None = None,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """The part of each sample, (N,), by number in `shares`, which add up to 1.

    Units, equal numbers in `units` (N,), may differ in size and hold several of the `strata` (N,). Greedy, as
    scikit-learn's StratifiedGroupKFold, for parts that differ: the largest unit first, each goes where it
    adds least to the sum of (count − aim)² / aim, over all strata and over the whole. Before that, the first
    part gets a unit of each of the `required` classes (N,). The last units fill parts that are empty. Ties
    between units are broken by `rng`.
    """
    _, unit_of = np.unique(units, return_inverse=True)
    _, column_of = np.unique(strata, return_inverse=True)
    count, width = int(unit_of.max()) + 1, int(column_of.max()) + 2  # the last column counts the whole
    keys = np.concatenate([unit_of * width + column_of, unit_of * width + width - 1])
    keys, sizes = np.unique(keys, return_counts=True)
    columns = keys % width
    largest_first = np.lexsort((rng.random(count), -np.bincount(keys // width, sizes**2)))
    first = largest_first[:0] if required is None else _covering(required, unit_of, largest_first)
    order = np.concatenate([first, largest_first[~np.isin(largest_first, first)]])
    cells = np.split(np.stack([columns, sizes], axis=1), np.searchsorted(keys, np.arange(1, count) * width))
    aims = np.outer(shares, np.bincount(columns, sizes))  # (parts, width)
    return _place([cells[unit] for unit in order], aims, reserved=len(first))[np.argsort(order)][unit_of]


def _covering(
    classes: NDArray[np.integer[Any]], unit_of: NDArray[np.int64], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The units, in this order, with a class that none before them has."""
    ranks = np.argsort(order)[unit_of]
    by_rank = np.argsort(ranks, kind="stable")
    _, firsts = np.unique(classes[by_rank], return_index=True)
    return order[np.unique(ranks[by_rank][firsts])]


def _place(
    cells: Sequence[NDArray[np.int64]], aims: NDArray[np.float64], *, reserved: int
) -> NDArray[np.int64]:
    """The part of each unit, given its (column, size) pairs; the first `reserved` go to the first part.

    Plain numbers: units are small, so that arrays would take five times as long.
    """
    weights: list[list[float]] = (1 / aims).tolist()
    surplus: list[list[float]] = np.full_like(aims, -2.0).tolist()  # 2 (count − aim) / aim
    empty = set(range(len(aims)))
    parts = []
    for done, own in enumerate(map(np.ndarray.tolist, cells)):
        candidates: Iterable[int] = range(len(aims))
        if done < reserved:
            candidates = [0]
        elif len(cells) - done <= len(empty):
            candidates = sorted(empty)
        cost_of = {
            part: sum(size * (surplus[part][column] + size * weights[part][column]) for column, size in own)
            for part in candidates
        }
        part = min(cost_of, key=cost_of.__getitem__)
        for column, size in own:
            surplus[part][column] += 2 * size * weights[part][column]
        empty.discard(part)
        parts.append(part)
    return np.array(parts)
