"""Risk–coverage curves on a model's calibration split, their areas, and each group at one threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.inference import Calibration
from app.registry.service import calibration_ref
from app.selective import calibrations
from app.selective.policy import PolicyRequest, one_policy, probability, promises, select
from core.errors import Conflict, InvalidInput
from core.storage.artifacts import Artifacts
from core.tables import ModelRow
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.serving.predictions import CERTIFIED_POLICIES, ClassPromise, policy_fields
from masktune.contract.serving.reject_option import (
    CurvePoint,
    GroupRow,
    GroupTable,
    MixedCurve,
    MixedPoint,
    RiskCoverage,
    RiskCoverageQuery,
)
from masktune.contract.vocabulary import SelectionStatus
from models.selective import (
    DEFAULT_CONFIDENCE,
    CalibrationTable,
    ClassTables,
    GroupSelection,
    by_group,
    coverage_ratio,
    reweighted,
    risk_coverage,
)

DEFAULT_COVERAGE = 0.9
STATEMENT = (
    "With {confidence:g} % confidence, each pair of bounds low … high holds for one point that was chosen "
    "before looking at this curve, and the band band_low … band_high for all points at once. For a target "
    "chosen after looking, only the band holds; a max_risk chosen after looking is not certified either."
)
INDEPENDENT = " All of them assume that the calibration samples are independent draws."
SUBJECTS = (
    " Images of one subject are not independent, so one image of each of {n_subjects} subjects counts, "
    "drawn at random: bounds and certificates are about a random image of a new subject."
)
MIX = (
    "An estimate for another mix of the images: {share:g} % of each class lack its pattern. It goes by "
    "groups that nobody labelled, of the classes that have both: {n_lacking} calibration samples lack it, "
    "and {n_rest} do not. It is not a certificate, and no bound holds for it."
)


def curve(row: ModelRow, artifacts: Artifacts, query: RiskCoverageQuery) -> RiskCoverage:
    """Compute the curve.
    Raises `Conflict` without a calibration, or for another mix without groups that a job inferred, and
    `InvalidInput` if the calibration lacks the score or a certificate is wanted for it."""
    policy, share = one_policy(query), query.minority_share
    if share is not None and policy in CERTIFIED_POLICIES:
        field = next(iter(policy_fields(query)))
        raise InvalidInput.field(
            f"?{field}",
            "not-with-minority-share",
            f"nothing is certified for another mix of the images: leave out {field} or minority_share",
        )
    calibration = calibrations.get(row, artifacts)
    reference = calibration_ref(row)
    assert reference is not None
    name = calibrations.score_name(query.score, row)
    risks = risk_coverage(calibration.tables[name], points=query.points)
    return RiskCoverage(
        model=row.id,
        calibration=reference,
        score_name=name,
        n=risks.n,
        n_subjects=calibration.n_subjects,
        aurc=risks.aurc,
        augrc=risks.augrc,
        confidence=risks.confidence,
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
            for point in risks.points
        ],
        statement=_statement(risks.confidence, calibration.n_subjects),
        mix=None
        if share is None
        else _mix(calibration, name, share, [point.threshold for point in risks.points]),
        table=_table(calibration, name, query),
        promises=_promises(calibration, name, query) if policy == "by_class" else None,
    )


def _promises(calibration: Calibration, name: ScoreName, query: RiskCoverageQuery) -> list[ClassPromise]:
    confidence = query.risk_confidence or DEFAULT_CONFIDENCE
    request = PolicyRequest("by_class", query.max_class_risk, confidence, query.max_missed)
    return promises(select(request, calibration, name))


def _statement(confidence: float, n_subjects: int | None) -> str:
    bounds = STATEMENT.format(confidence=100 * confidence)
    return bounds + (INDEPENDENT if n_subjects is None else SUBJECTS.format(n_subjects=n_subjects))


def _mix(calibration: Calibration, name: ScoreName, share: float, thresholds: Sequence[float]) -> MixedCurve:
    tables = calibration.groups.get(name, {})
    # Inferred groups are called after their class, "cat · own pattern": `models.mitigation.pattern_groups`.
    by_class = {
        group.rpartition(" · ")[0]: ClassTables([], [table])
        for group, table in tables.items()
        if group not in calibration.lacking
    }
    for group in tables.keys() & calibration.lacking:
        classes = [of_class for of_class in by_class if group.startswith(f"{of_class} · ")]
        if classes:
            by_class[max(classes, key=len)].lacking.append(tables[group])
    both = [parts for parts in by_class.values() if parts.lacking]
    if not both:
        raise Conflict(
            f"calibration {calibration.id} does not tell images that lack the pattern of their class from "
            "others: inferred groups do, which a job makes on a data set without groups of its own"
        )
    n_lacking, n_rest = (sum(table.n for part in kind for table in part) for kind in zip(*both, strict=True))
    mixed = reweighted(both, thresholds, share=share)
    return MixedCurve(
        minority_share=share,
        n_lacking=n_lacking,
        n_rest=n_rest,
        points=[
            MixedPoint(threshold=math.exp(threshold), coverage=point.coverage, risk=point.risk)
            for threshold, point in zip(thresholds, mixed, strict=True)
        ],
        statement=MIX.format(share=100 * share, n_lacking=n_lacking, n_rest=n_rest),
    )


def _table(calibration: Calibration, name: ScoreName, query: RiskCoverageQuery) -> GroupTable:
    confidence = query.risk_confidence or DEFAULT_CONFIDENCE
    request = PolicyRequest("coverage", query.coverage or DEFAULT_COVERAGE)
    if query.max_risk is not None:
        request = PolicyRequest("max_risk", query.max_risk, confidence)
    chosen = select(request, calibration, name)
    bar = chosen.threshold

    def parts(tables: Mapping[str, CalibrationTable]) -> list[GroupSelection]:
        return by_group(tables, bar, max_risk=query.max_risk, confidence=confidence)

    groups, classes = calibration.groups.get(name, {}), calibration.classes.get(name, {})
    by_name, by_class = parts(groups), parts(classes)
    return GroupTable(
        policy="coverage" if query.max_risk is None else "max_risk",
        requested=chosen.requested or 0.0,
        status=SelectionStatus(chosen.status),
        threshold=probability(bar),
        best_certifiable_risk=chosen.planning and chosen.planning.best_certifiable_risk,
        samples_needed=chosen.planning and chosen.planning.samples_needed,
        max_risk=query.max_risk,
        risk_confidence=confidence,
        groups_inferred=calibration.groups_inferred,
        groups=[_row(group, groups[group.name]) for group in by_name],
        group_coverage_ratio=coverage_ratio(by_name),
        classes=[_row(group, classes[group.name]) for group in by_class],
        class_coverage_ratio=coverage_ratio(by_class),
    )


def _row(group: GroupSelection, table: CalibrationTable) -> GroupRow:
    point = group.point
    return GroupRow(
        group=group.name,
        n=point.n,
        n_answered=point.answered,
        n_errors=point.errors,
        coverage=point.coverage,
        risk=point.risk,
        risk_upper=point.risk_upper,
        verdict=group.verdict,
        needed=group.needed,
        aurc=risk_coverage(table, points=1).aurc,
    )
