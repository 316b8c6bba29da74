"""Selective risk over coverage: the curve, its bounds, and its area."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.selective.table import CalibrationTable
from models.statistics import clopper_pearson
from models.types import Floats


@dataclass(frozen=True)
class CurvePoint:
    """One threshold. `low`, `high` hold for it alone; `band_low`, `band_high` for all points at once."""

    threshold: float
    coverage: float
    risk: float
    answered: int
    errors: int
    low: float
    high: float
    band_low: float
    band_high: float


@dataclass(frozen=True)
class RiskCoverage:
    """`points` in ascending coverage; AURC and AUGRC as shares (papers report them ×1000).

    `confidence` is that of the pointwise bounds and of the band. For a target chosen in advance, read
    the bounds; for one chosen after looking at the curve, only the band holds.
    """

    points: tuple[CurvePoint, ...]
    aurc: float | None
    augrc: float | None
    confidence: float
    n: int


def risk_coverage(table: CalibrationTable, *, points: int = 100, confidence: float = 0.95) -> RiskCoverage:
    """The curve at `points` evenly spaced coverages, which depend on n alone.

    The bounds are Clopper-Pearson's: given a threshold's rank, the errors above it are binomial. The band
    uses the same bounds at (1 − confidence) / points each (Bonferroni): 1.5 times as wide at 100 points. A
    Dvoretzky-Kiefer-Wolfowitz band has one absolute width, divided by coverage, so it is useless at low
    coverage, which matters most.
    """
    ranks = np.unique(np.ceil(np.arange(1, points + 1) * table.n / points).astype(np.int64))
    steps = np.unique(np.searchsorted(table.answered, ranks))
    steps = steps[steps < len(table.answered)]
    answered, errors = table.answered[steps], table.wrong[steps]
    pointwise = clopper_pearson(errors, answered, confidence=confidence)
    band = clopper_pearson(errors, answered, confidence=1 - (1 - confidence) / len(ranks))
    columns = (
        table.thresholds[steps],
        answered / table.n,
        errors / answered,
        answered,
        errors,
        *pointwise,
        *band,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    aurc, augrc = areas(table)
    return RiskCoverage(tuple(CurvePoint(*row) for row in rows), aurc, augrc, confidence, table.n)


class MixPoint(NamedTuple):
    """One threshold on another mix of the images; `risk` is None if nothing is answered."""

    coverage: float
    risk: float | None


class ClassTables(NamedTuple):
    """The tables of one class: of its images that lack its pattern, and of the rest."""

    lacking: list[CalibrationTable]
    rest: list[CalibrationTable]

    @property
    def n(self) -> int:
        return sum(table.n for part in self for table in part)


def reweighted(
    classes: Sequence[ClassTables], thresholds: Iterable[float], *, share: float
) -> list[MixPoint]:
    """The curve at these thresholds, if `share` (0..1) of each of the `classes` lacked its pattern; each has
    its share of all samples. An estimate: only on the mix that was measured do bounds hold."""
    n = sum(of_class.n for of_class in classes)
    points = []
    for threshold in thresholds:
        parts = [
            of_class.n / n * part_share * _shares(part, threshold)
            for of_class in classes
            for part, part_share in zip(of_class, (share, 1 - share), strict=True)
        ]
        coverage, errors = np.sum(parts, 0).tolist()
        points.append(MixPoint(coverage, errors / coverage if coverage else None))
    return points


def _shares(tables: Sequence[CalibrationTable], threshold: float) -> Floats:
    """The shares (2,) of all samples of these tables that are answered, and that are answered wrongly."""
    counts = np.sum([table.at(threshold) for table in tables], 0)
    return np.asarray(counts / sum(table.n for table in tables))


def areas(table: CalibrationTable) -> tuple[float | None, float | None]:
    """AURC (mean risk over the ranks, Geifman and El-Yaniv 2017) and AUGRC (Traub et al. 2024).

    Errors among equal scores are spread evenly over their ranks, which is the mean over all orders
    of the ties, so the order of the input does not matter. Over answerable samples; None without any.
    """
    if not len(table.answered):
        return None, None
    rank = np.arange(1, table.answered[-1] + 1)
    wrong: Floats = np.interp(rank, np.append(0, table.answered), np.append(0, table.wrong))
    return float((wrong / rank).mean()), float((wrong / table.n).mean())
