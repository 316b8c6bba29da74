"""Risk over coverage on a model's calibration split: the curve, its areas, each group at one coverage."""

from __future__ import annotations

import math
from typing import NamedTuple

from app.schemas.models import CurvePoint, GroupRow, RiskCoverage
from app.services import calibrations
from app.services.models import calibration_ref
from app.services.selection import probability
from core.artifacts import Artifacts
from core.tables import ModelRow
from models.selective import (
    CalibrationTable,
    ScoreName,
    operating_point,
    risk_coverage,
    threshold_for_coverage,
)


class Asked(NamedTuple):
    """`points` evenly spaced coverages; the table of groups is for the one `coverage`, in (0, 1]."""

    score: ScoreName | None
    points: int
    coverage: float


def curve(row: ModelRow, artifacts: Artifacts, asked: Asked) -> RiskCoverage:
    """Raises `Conflict` for a model without a calibration, `InvalidInput` for a score it has none for."""
    calibration = calibrations.needed(row, artifacts)
    reference = calibration_ref(row)
    assert reference is not None
    name = calibrations.score_name(asked.score, row)
    table = calibration.tables[name]
    found = risk_coverage(table, points=asked.points)
    threshold = threshold_for_coverage(table, asked.coverage).threshold
    return RiskCoverage(
        model=row.id,
        calibration=reference,
        score_name=name,
        n=found.n,
        aurc=found.aurc,
        augrc=found.augrc,
        confidence=found.confidence,
        points=[
            CurvePoint(
                threshold=math.exp(point.threshold),
                coverage=point.coverage,
                risk=point.risk,
                n_answered=point.answered,
                n_errors=point.errors,
                low=point.low,
                high=point.high,
                band_low=point.band_low,
                band_high=point.band_high,
            )
            for point in found.points
        ],
        coverage=asked.coverage,
        threshold=probability(threshold),
        groups=[_group(group, table, threshold) for group, table in calibration.groups.get(name, {}).items()],
    )


def _group(name: str, table: CalibrationTable, threshold: float | None) -> GroupRow:
    point = operating_point(table, threshold)
    return GroupRow(
        group=name,
        n=point.n,
        n_answered=point.answered,
        n_errors=point.errors,
        coverage=point.coverage,
        risk=point.risk,
        risk_upper=point.risk_upper,
        aurc=risk_coverage(table, points=1).aurc,
    )
