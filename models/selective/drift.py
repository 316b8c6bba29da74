"""Test whether inputs are still like those of the calibration split: exact, on counts, without labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.selective.policies import threshold_for_coverage
from models.selective.table import CalibrationTable
from models.statistics import Share, fisher

REFERENCES = (0.5, 0.8, 0.95)
"""Coverages whose thresholds are monitored, whatever the policy: each score is above or below them."""


class Reference(NamedTuple):
    """The threshold that answers `coverage` of the calibration split, and the share it answers there."""

    coverage: float
    threshold: float
    answered: Share


def references(table: CalibrationTable) -> tuple[Reference, ...]:
    """One reference per coverage of `REFERENCES`, in that order."""
    thresholds = []
    for coverage in REFERENCES:
        point = threshold_for_coverage(table, coverage).point
        assert point.threshold is not None
        thresholds.append(Reference(coverage, point.threshold, Share(point.answered, table.n)))
    return tuple(thresholds)


@dataclass(frozen=True)
class Comparison:
    """A share on the calibration split and in service. `p_adjusted`: Bonferroni over all comparisons."""

    name: str
    calibration: Share
    deployed: Share
    p_value: float
    p_adjusted: float
    decidable: bool
    """Whether some outcome with this many inputs could be significant; if not, the test says nothing."""


def compare(shares: Mapping[str, tuple[Share, Share]], *, alpha: float) -> list[Comparison]:
    """Test each (calibration, deployed) pair with `fisher`, two-sided, adjusted for the number of pairs."""
    comparisons = []
    for name, (calibration, deployed) in shares.items():
        p = fisher(calibration, deployed)
        extreme = min(fisher(calibration, Share(count, deployed.n)) for count in (0, deployed.n))
        comparisons.append(
            Comparison(
                name=name,
                calibration=calibration,
                deployed=deployed,
                p_value=p,
                p_adjusted=min(1.0, p * len(shares)),
                decidable=extreme * len(shares) <= alpha,
            )
        )
    return comparisons
