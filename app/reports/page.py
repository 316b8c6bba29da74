"""Builds the content of a report's page from its JSON: words and figures ready to print, no markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from app.reports import labels as words
from app.reports import notes
from app.reports import plots as figures
from app.reports import sentences as answers
from app.reports.view import (
    Arm,
    Change,
    Cost,
    Figure,
    Item,
    Look,
    Reliability,
    ReportPage,
    Row,
    SplitPage,
)

ARMS = ("erm", "given", "control", "masktune", "retrained", "imported")
"""Arms in reading order: before, the same amount of training, after."""

Picture = Callable[[str], str]
"""Maps the name of an image of the report to a `data:` URI."""


def build_page(report: words.Json, picture: Picture) -> ReportPage:
    """Build the page, apart from the sections of `report_sections` and `report_groups`."""
    arms = _arms(report)
    splits = sorted(report["metrics"], key=lambda split: split != "test")
    pages = [_split(report, split, arms, main=split == splits[0]) for split in splits]
    dataset, gallery = report["dataset"], report.get("gallery") or {}
    return ReportPage(
        job=report["job"],
        kind=report["kind"],
        dataset=dataset["name"],
        dataset_id=dataset["id"],
        facts=_facts(dataset),
        made=datetime.fromtimestamp(report["created_at"], UTC).strftime("%d %B %Y, %H:%M UTC"),
        arms=arms,
        verdict=answers.verdict(report),
        training_note=report.get("training_note"),
        answers=answers.answers(report, splits[0] if splits else None),
        main=pages[0] if pages else None,
        others=tuple(pages[1:]),
        gallery_rules=tuple((notes.rule(rule), said) for rule, said in (gallery.get("rule") or {}).items()),
        gallery_turns=gallery.get("turns", ""),
        gallery=tuple(_item(item, picture) for item in gallery.get("items", ())),
        masks=notes.masks(report.get("masks")),
        costs=_costs(report["cost"]),
        judged=words.judged_name(report),
        question=words.question(report),
        changed=words.judged(report) in report["models"],
        glossary=words.glossary(report),
        total=words.duration(sum(cost["seconds"] or 0 for cost in report["cost"])),
    )


def _arms(report: words.Json) -> tuple[Arm, ...]:
    found = report["models"]
    return tuple(
        Arm(key, words.ARM_NAMES[key], found[key]["id"], found[key]["backbone"])
        for key in ARMS
        if key in found
    )


def _facts(dataset: words.Json) -> tuple[str, ...]:
    splits = ", ".join(f"{n:,} {name}" for name, n in dataset["splits"].items() if n)
    groups = len(dataset["groups"])
    return (
        f"{sum(dataset['splits'].values()):,} images: {splits}",
        f"{len(dataset['classes'])} classes" + (f", {groups} groups" if groups else ", no groups"),
    )


def _split(report: words.Json, split: str, arms: Sequence[Arm], *, main: bool) -> SplitPage:
    by_arm: words.Json = report["metrics"][split]
    keys = [arm.key for arm in arms if arm.key in by_arm]
    return SplitPage(
        name=split,
        n=next((by_arm[key]["n"] for key in keys), 0),
        unseen=answers.unseen(report, split),
        summary=_summary(by_arm, keys),
        groups=_slices(by_arm, keys, "groups"),
        classes=_slices(by_arm, keys, "classes"),
        changes=_changes(report["differences"].get(split) or ()),
        reliability=_reliability(report, split, keys) if main else (),
        disagreement=notes.disagreement(
            (report.get("disagreement") or {}).get(split), words.judged_name(report)
        ),
        background=notes.background_gap((report.get("background_gap") or {}).get(split)),
    )


# --- figures -----------------------------------------------------------------------------------


def _summary(by_arm: words.Json, keys: Sequence[str]) -> tuple[Row, ...]:
    rows = []
    for statistic, (name, note) in words.STATISTICS.items():
        found = [_figure(key, by_arm[key], statistic) for key in keys]
        there = tuple(figure for figure in found if figure is not None)
        if there and not (statistic == "worst_class_accuracy" and _grouped(by_arm, keys)):
            rows.append(Row(name, note, None, there))
    return tuple(rows)


def _grouped(by_arm: words.Json, keys: Sequence[str]) -> bool:
    """Whether there are groups; the worst case is then the worst group, not the worst class."""
    return any(by_arm[key]["worst_group_accuracy"] is not None for key in keys)


def _figure(arm: str, metrics: words.Json, statistic: str) -> Figure | None:
    value = metrics.get(statistic)
    if value is None:
        return None
    ends = {"accuracy": ("low", "high")}.get(statistic, (f"{statistic}_low", f"{statistic}_high"))
    low, high = (metrics.get(end) for end in ends)
    return Figure(arm, value, low, high, metrics["n"])


def _slices(by_arm: words.Json, keys: Sequence[str], among: str) -> tuple[Row, ...]:
    first = by_arm[keys[0]][among] if keys else ()
    lowest = {key: min((s["accuracy"] for s in by_arm[key][among]), default=None) for key in keys}
    rows = []
    for slice in first:
        found = []
        for key in keys:
            same = next((s for s in by_arm[key][among] if s["id"] == slice["id"]), None)
            if same is not None:
                bottom = same["accuracy"] == lowest[key] and len(first) > 1
                found.append(Figure(key, same["accuracy"], same["low"], same["high"], same["n"], bottom))
        rows.append(Row(slice["name"], "", slice["n"], tuple(found)))
    return tuple(rows)


def _changes(differences: Sequence[words.Json]) -> tuple[Change, ...]:
    """Place all changes on one scale, so that lengths compare; at least ±5 points, so noise looks small."""
    grouped = any(d["statistic"] == "worst_group_accuracy" for d in differences)
    hidden = ("balanced_accuracy", "worst_class_accuracy") if grouped else ()
    differences = [d for d in differences if d["statistic"] not in hidden]
    if not differences:
        return ()
    low: float = min(-0.05, *(d["low"] for d in differences)) * 1.05
    high: float = max(0.05, *(d["high"] for d in differences)) * 1.05

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 3)

    return tuple(
        Change(
            against=words.ARM_NAMES[d["b"]],
            statistic=words.STATISTICS[d["statistic"]][0],
            text=words.points(d["estimate"]),
            interval=f"{words.points(d['low'])} … {words.points(d['high'])}",
            detail=f"{d['n']:,} samples; only {words.ARM_NAMES[d['a']]} is right on {d['a_only']:,}, "
            f"only {words.ARM_NAMES[d['b']]} on {d['b_only']:,}",
            sign="better" if d["low"] > 0 else "worse" if d["high"] < 0 else "unclear",
            left=place(d["low"]),
            right=100 - place(d["high"]),
            at=place(d["estimate"]),
            zero=place(0.0),
        )
        for d in differences
    )


def _reliability(report: words.Json, split: str, keys: Sequence[str]) -> tuple[Reliability, ...]:
    by_arm: words.Json = report["reliability"].get(split) or {}
    shown: words.Json = (report.get("reliability_shown") or {}).get(split) or {}
    temperatures: words.Json = report.get("temperature") or {}
    found = []
    for key in (key for key in keys if key in by_arm):
        told, name = by_arm[key], words.ARM_NAMES[key]
        if not told or told["ece"] is None:
            found.append(Reliability(key, name, "", notes.NOT_FINITE, "", Markup("")))
            continue
        found.append(
            Reliability(
                arm=key,
                name=name,
                ece=f"{100 * told['ece']:.1f}",
                note=notes.reliability(told),
                shown=notes.shown(shown.get(key), temperatures.get(key)),
                figure=figures.reliability(key, told, name=f"sure-{split}-{key}"),
            )
        )
    return tuple(found)


# --- pictures and costs ------------------------------------------------------------------------


def _item(item: words.Json, picture: Picture) -> Item:
    looks = tuple(
        Look(
            arm=key,
            name=words.ARM_NAMES[key],
            label=item["arms"][key]["label"],
            probability=words.percent(item["arms"][key]["probability"]),
            right=item["arms"][key]["right"],
            overlay=picture(item["arms"][key]["overlay"]),
            mask=picture(item["arms"][key]["mask"]),
        )
        for key in ARMS
        if key in item["arms"]
    )
    return Item(
        sample=item["sample"],
        path=item["path"],
        label=item["label"],
        group=item["group"],
        rule=notes.rule(item["rule"]),
        moved=None if item["moved"] is None else words.percent(item["moved"]),
        image=picture(item["image"]),
        looks=looks,
    )


def _costs(costs: Sequence[words.Json]) -> tuple[Cost, ...]:
    longest = max((cost["seconds"] or 0 for cost in costs), default=0) or 1
    return tuple(
        Cost(
            stage=words.stage(cost["stage"]),
            seconds=words.duration(cost["seconds"] or 0),
            rate="" if not cost["images_per_second"] else f"{cost['images_per_second']:,.0f} images/s",
            device=cost["device"] or "",
            share=round(100 * (cost["seconds"] or 0) / longest, 2),
        )
        for cost in costs
    )
