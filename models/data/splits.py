"""Assign images to splits: missing splits are cut, stratified, from the given ones, and cut no unit: all
samples of a subject, say.

`calibration` serves certificates and nothing else, so it is always cut from data that nothing else uses.
This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.clusters import connected_samples

SPLITS: tuple[str, ...] = ("train", "val", "calibration", "test")
WITHOUT_OBJECT: tuple[str, ...] = ("no_fg", "only_bg_b", "only_bg_t")
"""Splits that only the Background Challenge has: the object was removed from their images, so that the
accuracy there comes from the background alone. They are never made, and evaluated only on request."""
ALL_SPLITS = SPLITS + WITHOUT_OBJECT
"""All splits, in the order of their codes in a store."""
NO_SPLIT = ""
SPLIT_NAMES = (*ALL_SPLITS, NO_SPLIT)
"""The splits by their codes in a store; the last code is that of samples in no split."""
_REPORTED = ("test", "val", "calibration", "train", *WITHOUT_OBJECT)

_ALIASES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "calibration": "calibration",
    "calib": "calibration",
    "cal": "calibration",
    "test": "test",
    "testing": "test",
}

# The share of the given `train` that a missing split takes; a given `val` gives half to `calibration`.
_FROM_TRAIN: Mapping[str, float] = {"val": 0.10, "calibration": 0.15, "test": 0.15}
_FROM_VAL = 0.5


def only_test(splits: Iterable[str | None]) -> bool:
    """Whether a data set with these splits holds test images alone, on which nothing is trained: from such a
    set, no split is cut."""
    return set(splits) == {"test"}


def explained_split(evaluated: Iterable[str]) -> str:
    """The one of these splits on which a report shows where models look: the first of test, val, calibration
    and train; one whose images lost their object only if there is no other."""
    return min(evaluated, key=_REPORTED.index)


def canonical_split(name: str) -> str | None:
    """The split that a folder name or a CSV cell means (`valid` → `val`), or None."""
    return _ALIASES.get(name.strip().casefold())


@dataclass(frozen=True)
class Cut:
    """A split that was made: `size` of `donor`'s `donor_size` images; the aim was `fraction` of them."""

    donor: str
    fraction: float
    size: int
    donor_size: int


@dataclass(frozen=True)
class SplitRecord:
    """Which splits were given and which made, with everything needed to reproduce them.

    `whole_subjects`: the made ones cut no subject. `hold_out` are the metadata that made the test split.
    """

    given: tuple[str, ...]
    made: Mapping[str, Cut] = field(default_factory=dict)
    seed: int = 0
    stratified_by: tuple[str, ...] = ("label",)
    whole_subjects: bool = False
    hold_out: tuple[str, ...] = ()


class Assignment(NamedTuple):
    """A split name per image, in the order of the input, and how the splits were made."""

    splits: list[str]
    record: SplitRecord


def assign_splits(
    splits: Sequence[str | None],
    labels: NDArray[np.integer[Any]],
    *,
    groups: NDArray[np.integer[Any]] | None = None,
    twins: NDArray[np.integer[Any]] | None = None,
    subjects: NDArray[np.integer[Any]] | None = None,
    seed: int = 0,
) -> Assignment:
    """Fill in the missing splits.

    `splits` holds a name of `ALL_SPLITS` per image, or None for all of them (all are then `train`). If all
    are `test`, none is missing. A missing `val` takes 10 % of `train`, `test` 15 %, `calibration` half of a
    given `val`, else 15 % of `train`; a given split only ever shrinks. Cuts are stratified by label, or by
    (label, group) if `groups` (N,) has any (-1: none). Images that share a value of `twins` (N,)
    (identical pixels) or of `subjects` (N,) (-1: none), or that a chain of such pairs links, go to the
    same split; with subjects, the sizes are as near to these shares as that allows, every class stays in
    `train`, and a split may stay empty where there are too few subjects. Raises ValueError when only some
    images have a split.
    """
    _check(splits)
    count = len(splits)
    names = np.array([name or "train" for name in splits], dtype=object)
    present = tuple(name for name in ALL_SPLITS if name in splits)
    grouped = groups is not None and bool((groups >= 0).any())
    strata = labels
    if groups is not None and grouped:
        strata = labels.astype(np.int64) * (int(groups.max()) + 2) + groups + 1
    units = np.arange(count) if twins is None else np.asarray(twins)
    whole_subjects = subjects is not None and bool((subjects >= 0).any())
    if subjects is not None and whole_subjects:
        units = connected_samples(units.astype(np.int64), subjects.astype(np.int64))
    rng = np.random.default_rng([seed, count])
    cuts: dict[str, Cut] = {}
    for donor, fractions in _plan(present).items():
        rows = np.flatnonzero(names == donor)
        if whole_subjects and fractions and len(rows):
            shares = [1 - sum(fractions.values()), *fractions.values()]
            required = labels[rows] if donor == "train" else None
            part_of = divide(units[rows], strata[rows], shares, required=required, rng=rng)
            parts = {split: rows[part_of == part] for part, split in enumerate(fractions, start=1)}
        else:
            parts = _cut_in_turn(rows, strata, units, fractions=fractions, rng=rng)
        for split, members in parts.items():
            names[members] = split
            cuts[split] = Cut(donor, fractions[split], len(members), len(rows))
    by = ("label", "group") if grouped else ("label",)
    return Assignment(names.tolist(), SplitRecord(present, cuts, seed, by, whole_subjects))


def _check(splits: Sequence[str | None]) -> None:
    if None in splits and any(name is not None for name in splits):
        raise ValueError("either every image has a split or none has")
    if unknown := set(splits) - {None, *ALL_SPLITS}:
        raise ValueError(f"unknown splits {sorted(map(str, unknown))}: use {', '.join(ALL_SPLITS)}")


def overlap(pairs: Mapping[tuple[str, str], int]) -> str:
    """How much the two splits of each pair have in common, and what that spoils, to follow a number."""
    by_place = sorted(pairs.items(), key=lambda pair: [ALL_SPLITS.index(split) for split in pair[0]])
    sizes = ", ".join(f"{count} in {' and '.join(pair)}" for pair, count in by_place)
    in_calibration = any(later == "calibration" for _, later in pairs)  # train and val come before it
    but = ", though no certificate counts them" if in_calibration else ""
    return f" ({sizes}), so the figures of the later split are too good{but}"


def _plan(present: Sequence[str]) -> dict[str, dict[str, float]]:
    """donor → {missing split: share of the donor as given}, in a fixed order for reproducible cuts."""
    plan: dict[str, dict[str, float]] = {"val": {}, "train": {}}
    if only_test(present):
        return plan
    for split, share in _FROM_TRAIN.items():
        if split in present:
            continue
        if split == "calibration" and "val" in present:
            plan["val"][split] = _FROM_VAL
        else:
            plan["train"][split] = share
    return plan


def _cut_in_turn(
    rows: NDArray[np.int64],
    strata: NDArray[np.integer[Any]],
    units: NDArray[Any],
    *,
    fractions: Mapping[str, float],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int64]]:
    """The rows of each split, one cut after the other."""
    left, parts = 1.0, {}
    for split, fraction in fractions.items():
        parts[split] = _cut(rows, strata, units, share=fraction / left, rng=rng)
        rows = np.setdiff1d(rows, parts[split], assume_unique=True)
        left -= fraction
    return parts


def _cut(
    rows: NDArray[np.int64],
    strata: NDArray[np.integer[Any]],
    units: NDArray[Any],
    *,
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Take about `share` of `rows`: shuffle within each stratum, then pick at even steps.

    Even steps through the strata laid end to end give each stratum its share within one unit,
    and the whole its share within half a unit. At least one unit is taken if there are two or more.
    """
    _, first, unit_of = np.unique(units[rows], return_index=True, return_inverse=True)
    count = len(first)
    size = min(max(round(share * count), 1), count - 1)
    if size < 1:
        return rows[:0]
    order = np.lexsort((rng.random(count), strata[rows[first]]))
    positions = np.floor((np.arange(size) + rng.random()) * count / size).astype(np.int64)
    chosen = np.zeros(count, dtype=bool)
    chosen[order[positions]] = True
    return rows[chosen[unit_of]]


def divide(
    units: NDArray[np.int64],
    strata: NDArray[np.integer[Any]],
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
