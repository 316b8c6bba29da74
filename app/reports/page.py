"""Builds the content of a report's page: sentences and figures ready to print, no markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from markupsafe import Markup

from app.reports import plots
from app.reports.view import (
    Arm,
    Change,
    Cost,
    Figure,
    GalleryAnswer,
    GalleryItem,
    Reliability,
    ReportPage,
    Row,
    SplitPage,
)
from masktune.contract.report import Report, saliency
from masktune.contract.report.accuracy import ArmDifference, ArmMetrics
from masktune.contract.report.base import ArmName, StatisticName
from masktune.contract.report.report import ReportDataset, StageCost
from masktune.contract.report.text import answers, notes, percent, points, verdict
from masktune.contract.report.text.answers import SHORTCUT_QUESTION, help_question, trust_question
from masktune.contract.report.text.formats import points_interval
from masktune.contract.report.text.glossary import glossary
from masktune.contract.report.text.names import (
    ARM_NAMES,
    STATISTICS,
    arm_after,
    capitalised,
    gallery_rule,
    in_order,
    split_note,
    splits_in_order,
    statistics_in_order,
    within_sentence,
)
from masktune.contract.stages import STAGES

Picture = Callable[[str], str]
"""Maps the name of an image of the report to a `data:` URI."""


def build_page(report: Report, picture: Picture) -> ReportPage:
    """Build the page, apart from the sections of `sections` and `groups`."""
    splits = splits_in_order(report)
    pages = [_split(report, split, main=split == splits[0]) for split in splits]
    gallery = report.gallery
    return ReportPage(
        job=report.job,
        kind=report.kind,
        dataset=report.dataset.name,
        dataset_id=report.dataset.id,
        facts=_facts(report.dataset),
        created=datetime.fromtimestamp(report.created_at, UTC).strftime("%d %B %Y, %H:%M UTC"),
        arms=tuple(
            Arm(key, ARM_NAMES[key], report.models[key].id, report.models[key].backbone)
            for key in in_order(report.models)
        ),
        verdict=verdict(report),
        training_note=report.training_note,
        answers=answers(report),
        shortcut_question=SHORTCUT_QUESTION,
        help_question=help_question(report),
        trust_question=trust_question(report),
        after=within_sentence(arm_after(report)),
        main=pages[0] if pages else None,
        others=tuple(pages[1:]),
        differences_note=notes.DIFFERENCES,
        gallery_lead=notes.GALLERY,
        gallery_rules=tuple((gallery_rule(rule), said) for rule, said in gallery.rules.items())
        if gallery
        else (),
        gallery_order=gallery.class_balanced_order if gallery else "",
        gallery=tuple(_item(item, picture) for item in gallery.items) if gallery else (),
        masks=notes.masks(report.masks),
        costs=_costs(report.cost),
        total=duration(sum(cost.seconds or 0 for cost in report.cost)),
        glossary=glossary(report),
    )


def _facts(dataset: ReportDataset) -> tuple[str, ...]:
    splits = ", ".join(f"{n:,} {name}" for name, n in dataset.splits.items() if n)
    groups = len(dataset.groups)
    return (
        f"{sum(dataset.splits.values()):,} images: {splits}",
        f"{len(dataset.classes)} classes" + (f", {groups} groups" if groups else ", no groups"),
    )


def _split(report: Report, split: str, *, main: bool) -> SplitPage:
    by_arm = report.metrics[split]
    keys = in_order(by_arm)
    return SplitPage(
        name=split,
        n=next((by_arm[key].n for key in keys), 0),
        note=split_note(report, split),
        summary=tuple(_statistic(by_arm, name) for name in statistics_in_order(report, split)),
        groups=_slices(by_arm, keys, "groups"),
        classes=_slices(by_arm, keys, "classes"),
        changes=_changes(report.differences.get(split, [])),
        reliability=_reliability(report, split, keys) if main else (),
        disagreement=notes.disagreement(report.disagreement.get(split), arm_after(report)),
        background=notes.background_gap(report.background_gap.get(split)),
    )


# --- figures -----------------------------------------------------------------------------------


def _statistic(by_arm: Mapping[ArmName, ArmMetrics], name: StatisticName) -> Row:
    figures = []
    for arm in in_order(by_arm):
        value, low, high = by_arm[arm].statistic(name)
        if value is not None:
            figures.append(Figure(arm, value, low, high, by_arm[arm].n))
    return Row(*STATISTICS[name], None, tuple(figures))


def _slices(
    by_arm: Mapping[ArmName, ArmMetrics], keys: Sequence[ArmName], among: Literal["groups", "classes"]
) -> tuple[Row, ...]:
    slices = {key: {one.id: one for one in getattr(by_arm[key], among)} for key in keys}
    lowest = {key: min((one.accuracy for one in slices[key].values()), default=None) for key in keys}
    first = slices[keys[0]] if keys else {}
    rows = []
    for number, one in first.items():
        figures = []
        for key in keys:
            if (same := slices[key].get(number)) is not None:
                bottom = same.accuracy == lowest[key] and len(first) > 1
                figures.append(Figure(key, same.accuracy, same.low, same.high, same.n, bottom))
        rows.append(Row(one.name, "", one.n, tuple(figures)))
    return tuple(rows)


def _changes(differences: Sequence[ArmDifference]) -> tuple[Change, ...]:
    """Place all changes on one scale, so that lengths compare; at least ±5 points, so noise looks small."""
    grouped = any(d.statistic == "worst_group_accuracy" for d in differences)
    hidden = ("balanced_accuracy", "worst_class_accuracy") if grouped else ()
    differences = [d for d in differences if d.statistic not in hidden]
    if not differences:
        return ()
    low: float = min(-0.05, *(d.low for d in differences)) * 1.05
    high: float = max(0.05, *(d.high for d in differences)) * 1.05

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 3)

    return tuple(
        Change(
            against=ARM_NAMES[d.b],
            statistic=STATISTICS[d.statistic][0],
            text=points(d.estimate),
            interval=points_interval(d.low, d.high),
            detail=f"{d.n:,} samples; only {ARM_NAMES[d.a]} is right on {d.a_only:,}, "
            f"only {ARM_NAMES[d.b]} on {d.b_only:,}",
            sign="better" if d.low > 0 else "worse" if d.high < 0 else "unclear",
            left=place(d.low),
            right=100 - place(d.high),
            at=place(d.estimate),
            zero=place(0.0),
        )
        for d in differences
    )


def _reliability(report: Report, split: str, keys: Sequence[ArmName]) -> tuple[Reliability, ...]:
    by_arm = report.reliability.get(split, {})
    at_temperature = report.reliability_at_temperature.get(split, {})
    rows = []
    for key in (key for key in keys if key in by_arm):
        measured, name = by_arm[key], ARM_NAMES[key]
        if measured is None:
            rows.append(Reliability(key, name, "", notes.NOT_FINITE, "", Markup("")))
            continue
        rows.append(
            Reliability(
                arm=key,
                name=name,
                ece=f"{100 * measured.ece:.1f}",
                note=notes.reliability(measured),
                at_temperature=notes.reliability_at_temperature(
                    at_temperature.get(key), report.temperature.get(key)
                ),
                figure=plots.reliability(key, measured, name=f"sure-{split}-{key}"),
            )
        )
    return tuple(rows)


# --- pictures and costs ------------------------------------------------------------------------


def _item(item: saliency.GalleryItem, picture: Picture) -> GalleryItem:
    answers_of = tuple(
        GalleryAnswer(
            arm=key,
            name=ARM_NAMES[key],
            label=item.arms[key].label,
            probability=percent(item.arms[key].probability),
            correct=item.arms[key].correct,
            overlay=picture(item.arms[key].overlay),
            mask=picture(item.arms[key].mask),
        )
        for key in in_order(item.arms)
    )
    return GalleryItem(
        sample=item.sample,
        path=item.path,
        label=item.label,
        group=item.group,
        rule=gallery_rule(item.rule),
        shift=None if item.shift is None else percent(item.shift),
        image=picture(item.image),
        answers=answers_of,
    )


def _costs(costs: Sequence[StageCost]) -> tuple[Cost, ...]:
    longest = max((cost.seconds or 0 for cost in costs), default=0) or 1
    return tuple(
        Cost(
            stage=capitalised(STAGES[cost.stage]),
            seconds=duration(cost.seconds or 0),
            rate="" if not cost.images_per_second else f"{cost.images_per_second:,.0f} images/s",
            device=cost.device or "",
            share=round(100 * (cost.seconds or 0) / longest, 2),
        )
        for cost in costs
    )


def duration(seconds: float) -> str:
    """Format a duration, e.g. "4.2 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
