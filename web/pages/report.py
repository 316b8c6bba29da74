"""The before/after report: did it help, whom, and where do the models look?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from web.shell import html, page, titled
from web.text import labels as words
from web.text import report as report_words
from web.transport.connection import api, here, lacking, own_key

MOST_GROUPS = 60
"""Most rows of a table: those in which a model is worst. The API's report has all of them."""


@page("/jobs/{job_id}/report", "Report", "/jobs")
async def show(job_id: str) -> None:
    report = await api().jobs.report(job_id)
    metrics = report.get("metrics") or {}
    splits = sorted(metrics, key=lambda split: (split in words.SPLIT_NOTES, split != "test"))
    judging = [split for split in splits if split not in words.SPLIT_NOTES]
    judged = "retrained" if "retrained" in (report.get("models") or {}) else "masktune"
    verdict = report_words.verdict(report)
    after = (report.get("models") or {}).get(judged)
    titled(f"{verdict.title} · {words.cut(str(report['dataset']['name']))} · Report")
    html("report_head", report=report, verdict=verdict, arms=_models(report), after=after)
    shortcut = report.get("shortcut")
    certified = (report.get("certified") or {}).get(judged)
    asked = []
    if judging:
        of_split = metrics[judging[0]], judged, judging[0]
        asked = report_words.answers(*of_split, report.get("before"), certified)
    html("report_answers", answers=asked, shortcut=shortcut)
    for split in splits[:1]:
        _split(report, split)
    gallery = report.get("gallery") or {}
    items = [_item(item, report) for item in gallery.get("items") or ()]
    own = await own_key(api())
    if items and own.may("predict"):
        html("gallery", items=items, rules=gallery.get("rule") or {})
    elif items:  # the models generate its images when the page is opened
        html("notice", tone="", text=f"Where the models look is not shown. {lacking(own, 'predict')}")
    for split in splits[1:]:
        _split(report, split)
    html("report_cost", cost=report.get("cost") or [])


def _split(report: words.Json, split: str) -> None:
    by_arm = report["metrics"][split]
    gap = report_words.background_gap((report.get("background_gap") or {}).get(split))
    note = words.SPLIT_NOTES.get(split)
    html("report_split", split=split, by_arm=by_arm, gap=gap, note=note, **tables(by_arm))
    html("report_changes", note=note, differences=(report.get("differences") or {}).get(split) or [])


def _models(report: words.Json) -> list[tuple[str, words.Json]]:
    found = report.get("models") or {}
    return [(arm, found[arm]) for arm in words.arms_in_order(found)]


def tables(by_arm: words.Json) -> dict[str, Any]:
    """Rows of a split's table: the available statistics, then the groups, or else the classes."""
    arms = words.arms_in_order(by_arm)
    grouped = any(by_arm[arm].get("worst_group_accuracy") is not None for arm in arms)
    among = "groups" if grouped else "classes"
    statistics = [
        (key, name, note)
        for key, (name, note) in report_words.STATISTICS.items()
        if any(by_arm[arm].get(key) is not None for arm in arms)
        and not (grouped and key == "worst_class_accuracy")
    ]
    found = {arm: {s["id"]: s for s in by_arm[arm].get(among) or ()} for arm in arms}
    rows = []
    for number, entry in next(iter(found.values()), {}).items():
        rows.append((entry["name"], entry["n"], [found[arm].get(number) for arm in arms]))
    of = len(rows)
    if of > MOST_GROUPS:
        rows.sort(key=lambda row: min(s["accuracy"] for s in row[2] if s))
    return {
        "arms": arms,
        "statistics": statistics,
        "rows": rows[:MOST_GROUPS],
        "of": of,
        "among": among,
        "lowest": {arm: _lowest(found[arm].values()) for arm in arms},
    }


def _lowest(slices: Iterable[words.Json]) -> float | None:
    """The lowest accuracy; None if all are equal."""
    found = {s["accuracy"] for s in slices}
    return min(found) if len(found) > 1 else None


def _item(item: words.Json, report: words.Json) -> dict[str, Any]:
    """One image of the gallery; its saliency maps are computed anew by the models."""
    dataset, models = report["dataset"]["id"], report["models"]
    arms = [arm for arm in words.arms_in_order(item["arms"]) if arm in models]

    def looks(arm: str) -> str:
        asked = {"model": models[arm]["id"], "dataset": dataset, "sample": item["sample"]}
        return here(f"/files/saliency?{urlencode(asked)}")

    return {
        "sample": item["sample"],
        "label": item["label"],
        "group": item["group"],
        "moved": item.get("moved"),
        "rule": item["rule"],
        "arms": [
            (arm, item["arms"][arm], looks(arm)) for arm in (arms[:1] + arms[-1:] if len(arms) > 1 else arms)
        ],
    }
