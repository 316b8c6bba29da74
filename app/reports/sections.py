"""The evidence on a report's page: signs of a shortcut, slices, where models look, what may be trusted.

Each builder returns the content for the template, or None if the report lacks the section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from app.reports import plots
from app.reports.view import (
    DividedClass,
    Figure,
    MaskCost,
    MeanMap,
    Properties,
    PropertyRow,
    Row,
    Saliency,
    ShortcutPart,
    Sign,
    Slice,
    Slices,
    Target,
    Trust,
)
from masktune.contract.report import Report
from masktune.contract.report.base import ArmName
from masktune.contract.report.saliency import InferredSlice, InferredSlices, SaliencyShift
from masktune.contract.report.shortcut import MaskingCost, PropertyCheck, PropertyFinding
from masktune.contract.report.text import notes, percent, whole_percent
from masktune.contract.report.text.answers import EVIDENCE
from masktune.contract.report.text.formats import percent_interval
from masktune.contract.report.text.names import ARM_NAMES, SIGN_NAMES

Picture = Callable[[str], str]
PROPERTIES = 6
"""Limit of rows in the table of simple properties; the JSON has all of them."""


def build_shortcut(report: Report, arms: Sequence[ArmName], picture: Picture) -> ShortcutPart | None:
    reliance = report.shortcut_reliance
    if reliance is None:
        return None
    tone, title = EVIDENCE[reliance.evidence]
    return ShortcutPart(
        tone=tone,
        title=title,
        reason=reliance.reason or "",
        model=ARM_NAMES[report.saliency.before if report.saliency else arms[0]],
        signs=tuple(
            Sign(sign.present, SIGN_NAMES[sign.name], sign.sentence)
            for sign in sorted(reliance.signs, key=lambda sign: not sign.present)
        ),
        rule=reliance.rule,
        costs=_costs(report.masking_cost, arms),
        properties=_properties(report.properties),
        slices=_slices(report.slices, arms, picture),
    )


def _costs(
    by_split: Mapping[str, Mapping[ArmName, MaskingCost]], arms: Sequence[ArmName]
) -> tuple[MaskCost, ...]:
    rows = []
    for split, by_arm in by_split.items():
        for arm in (arm for arm in arms if arm in by_arm):
            cost = by_arm[arm]
            plain, own, elsewhere = (cost.under(mask) for mask in ("plain", "own", "elsewhere"))
            rows.append(
                MaskCost(
                    arm=arm,
                    name=ARM_NAMES[arm],
                    split=split,
                    n=cost.n,
                    masked=_with_interval(cost.masked_share, cost.masked_low, cost.masked_high),
                    cells=tuple(_with_interval(m.accuracy, m.low, m.high) for m in (plain, own, elsewhere)),
                    changed=tuple(
                        _with_interval(m.changed_share, m.changed_low, m.changed_high)
                        for m in (own, elsewhere)
                    ),
                )
            )
    return tuple(rows)


def _with_interval(share: float, low: float | None, high: float | None) -> tuple[str, str]:
    return percent(share), percent_interval(low, high)


def _properties(check: PropertyCheck | None) -> Properties | None:
    if check is None or not check.findings:
        return None
    findings = check.findings
    return Properties(
        sentence=check.sentence,
        rule=check.rule,
        n=check.n,
        split=check.split,
        elsewhere=next((one.elsewhere.split for one in findings if one.elsewhere), None),
        rows=tuple(_property(one) for one in findings[:PROPERTIES]),
        more=max(0, len(findings) - PROPERTIES),
    )


def _property(finding: PropertyFinding) -> PropertyRow:
    there = finding.elsewhere
    return PropertyRow(
        name=finding.property,
        strength=finding.strength,
        accuracy=_with_interval(finding.accuracy, finding.low, finding.high),
        majority=percent(finding.majority),
        effect=(
            f"{finding.effect:.2f}".replace("-", "−"),
            f"{finding.effect_low:.2f} – {finding.effect_high:.2f}".replace("-", "−"),
        ),
        p_value=f"{finding.p_value:.3f}",
        elsewhere=None if there is None else _with_interval(there.accuracy, there.low, there.high),
    )


def _slices(section: InferredSlices | None, arms: Sequence[ArmName], picture: Picture) -> Slices | None:
    if section is None:
        return None
    divided = tuple(
        DividedClass(
            name=each.class_name,
            slices=tuple(_slice(part, arms, picture) for part in section.slices if part.label == each.label),
            agreement=notes.agreement(each.agreement),
        )
        for each in section.classes
        if each.slices > 1
    )
    whole = [each.class_name for each in section.classes if each.slices == 1]
    return Slices(
        model=ARM_NAMES[section.model],
        split=section.split,
        n=section.n,
        split_size=section.split_size,
        rule=section.rule,
        divided=divided,
        undivided=notes.undivided_classes(whole, len(divided)),
    )


def _slice(part: InferredSlice, arms: Sequence[ArmName], picture: Picture) -> Slice:
    measured = {one.model: one for one in part.accuracies}
    return Slice(
        row=Row(
            f"Slice {part.index + 1}",
            f"{percent(part.share)} of its class",
            part.n,
            tuple(
                Figure(arm, of.accuracy, of.low, of.high, of.n)
                for arm in arms
                if (of := measured.get(arm)) is not None
            ),
        ),
        picture=picture(part.picture) if part.picture else None,
        n_pictured=part.n_pictured,
    )


def build_saliency(report: Report, arms: Sequence[ArmName], picture: Picture) -> Saliency | None:
    section = report.saliency
    if section is None:
        return None
    by_class = {each.name: each for each in section.shift.classes} if section.shift else {}
    return Saliency(
        split=section.split,
        n=section.n,
        split_size=section.split_size,
        shift=notes.saliency_shift(section.shift.all if section.shift else None, section.after),
        means=tuple(
            MeanMap(
                name=each.class_name,
                n=each.n,
                n_averaged=each.n_averaged,
                image=picture(each.image),
                arms=tuple(
                    (arm, ARM_NAMES[arm], picture(each.arms[arm])) for arm in arms if arm in each.arms
                ),
                shift=_shift(by_class.get(each.class_name)),
            )
            for each in section.pictures
        ),
    )


def _shift(share: SaliencyShift | None) -> str | None:
    if share is None or share.mean is None:
        return None
    return f"{percent(share.mean)} ({percent_interval(share.low, share.high)})"


def build_trust(report: Report, arms: Sequence[ArmName]) -> Trust | None:
    curves = report.risk_coverage
    if not curves:
        return None
    by_arm = {arm: report.certificates[arm] for arm in arms if arm in report.certificates}
    first = next(iter(by_arm.values()), None)
    return Trust(
        confidence="" if first is None else whole_percent(first.confidence),
        n=0 if first is None else first.n,
        copies="" if first is None else notes.copies(first.copies_left_out),
        targets=tuple(
            Target(
                whole_percent(target.max_risk),
                tuple((arm, *notes.certificate(of.targets[at])) for arm, of in by_arm.items()),
            )
            for at, target in enumerate(first.targets if first else ())
        ),
        best=tuple((arm, notes.best_risk(of.best_certifiable_risk)) for arm, of in by_arm.items()),
        curves=tuple(
            (
                split,
                notes.CURVE_SPLITS[split],
                plots.risk_coverage(
                    [(arm, curves[split][arm]) for arm in arms if arm in curves[split]], name=f"risk-{split}"
                ),
            )
            for split in ("calibration", "test", "val")
            if split in curves and (split != "val" or "test" not in curves)
        ),
    )
