"""The figures of a report's page: rows of a chart, and differences placed on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmDifference
from masktune.contract.report.groups import GroupSlice
from masktune.contract.report.metadata import MetadataSlices
from masktune.contract.report.saliency import SaliencySummary
from masktune.contract.report.text.formats import moment
from masktune.contract.report.text.metadata import value_name
from masktune.contract.report.text.names import STATISTICS, in_order, statistics_in_order
from masktune.contract.vocabulary import Arm


@dataclass(frozen=True)
class Figure:
    """A share in 0..1 with its interval, if it has one. `lowest`: of all groups or classes of the model."""

    arm: Arm
    share: float
    low: float | None
    high: float | None
    lowest: bool = False


@dataclass(frozen=True)
class Row:
    """A statistic, class, group or slice, with a figure for each arm."""

    name: str
    note: str
    n: int | None
    n_subjects: int | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ScaledDifference:
    """A difference on a scale: its ends, its estimate and zero, as positions in percent from the left."""

    difference: ArmDifference
    low: float
    high: float
    at: float
    zero: float

    @property
    def sign(self) -> Literal["better", "worse", "unclear"]:
        if self.difference.low > 0:
            return "better"
        return "worse" if self.difference.high < 0 else "unclear"


def statistics(report: Report, split: str) -> list[Row]:
    """A row for each statistic of the split."""
    rows = []
    for name in statistics_in_order(report, split):
        of_arms = {arm: metrics.statistic(name) for arm, metrics in report.metrics[split].items()}
        figures = [
            Figure(arm, share, low, high) for arm, (share, low, high) in of_arms.items() if share is not None
        ]
        rows.append(Row(*STATISTICS[name], None, None, _sorted(figures)))
    return rows


def slices(report: Report, split: str, among: Literal["groups", "classes"]) -> list[Row]:
    """A row for each group or class of the split; each model's lowest is marked."""
    of_arms = {
        arm: {one.id: one for one in getattr(metrics, among)}
        for arm, metrics in report.metrics[split].items()
    }
    lowest = {arm: min((one.accuracy for one in of_arms[arm].values()), default=None) for arm in of_arms}
    first = next(iter(of_arms.values()), {})
    return [
        Row(
            one.name,
            "",
            one.n,
            one.n_subjects,
            _sorted(
                Figure(
                    arm, same.accuracy, same.low, same.high, len(first) > 1 and same.accuracy == lowest[arm]
                )
                for arm, by_id in of_arms.items()
                if (same := by_id.get(number)) is not None
            ),
        )
        for number, one in first.items()
    ]


def group(of: GroupSlice) -> Row:
    """The row of one group that a last layer was balanced over."""
    figures = (Figure(arm, one.accuracy, one.low, one.high) for arm, one in of.accuracies.items() if one.n)
    return Row(of.name, "", of.n, None, _sorted(figures))


def metadata_slices(section: MetadataSlices, column: str) -> list[Row]:
    """A row for each slice of the column; a model that is shown to be less accurate there is marked."""
    return [
        Row(
            value_name(part),
            "",
            part.n,
            part.n_subjects,
            _sorted(
                Figure(arm, of.accuracy, of.low, of.high, of.is_lower) for arm, of in part.accuracies.items()
            ),
        )
        for part in section.slices
        if part.column == column
    ]


def may_be_object(saliency: SaliencySummary | None) -> set[str]:
    """The centre, and each corner or edge where a mean map of the original model has its maximum."""
    regions = {"centre"}
    for mean in saliency.mean_maps.get(saliency.before, []) if saliency else []:
        if mean.map:
            cells = [cell for line in mean.map for cell in line]
            row, column = divmod(cells.index(max(cells)), len(mean.map[0]))
            vertical = _end(row / len(mean.map), "top", "bottom")
            ends = vertical + _end(column / len(mean.map[0]), "left", "right")
            if ends:
                regions.add("-".join(ends) + (" corner" if len(ends) > 1 else " edge"))
    return regions


def _end(start: float, first: str, last: str) -> list[str]:
    """The outer eighth of a side in which this begins (0..1), if any."""
    return [first] * (start < 1 / 8) + [last] * (start >= 7 / 8)


def _sorted(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    by_arm = {figure.arm: figure for figure in figures}
    return tuple(by_arm[arm] for arm in in_order(by_arm))


def on_one_scale(differences: Sequence[ArmDifference]) -> list[ScaledDifference]:
    """Place the differences on one scale, so that lengths compare; at least ±5 points wide."""
    grouped = any(d.statistic == "worst_group_accuracy" for d in differences)
    hidden = ("balanced_accuracy", "worst_class_accuracy") if grouped else ()
    differences = [d for d in differences if d.statistic not in hidden]
    low = 1.05 * min(-0.05, *(d.low for d in differences), 0)
    high = 1.05 * max(0.05, *(d.high for d in differences), 0)

    def position(points: float) -> float:
        return round(100 * (points - low) / (high - low), 3)

    return [
        ScaledDifference(d, position(d.low), position(d.high), position(d.estimate), position(0.0))
        for d in differences
    ]


def date(seconds: float) -> str:
    """Format a time in seconds since 1970."""
    return moment(datetime.fromtimestamp(seconds, UTC))
