"""The before/after report: did it help, whom, and where do the models look."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from web import words
from web.connection import api, here
from web.shell import html, page

MOST_GROUPS = 60
"""Rows of a table; more are in the full report."""


@page("/jobs/{job_id}/report", "Report", "/jobs")
async def show(job_id: str) -> None:
    report = await api().jobs.report(job_id)
    metrics = report.get("metrics") or {}
    splits = sorted(metrics, key=lambda split: split != "test")
    judged = "retrained" if "retrained" in (report.get("models") or {}) else "masktune"
    tone, title, sentence = words.verdict(report)
    html("report_head", report=report, tone=tone, title=title, sentence=sentence, arms=_models(report))
    shortcut = report.get("shortcut")
    if splits:
        asked = words.answers(metrics[splits[0]], judged, report.get("before"))
        html("report_answers", answers=asked[1:] if shortcut else asked, shortcut=shortcut)
    for split in splits[:1]:
        _split(report, split)
    gallery = report.get("gallery") or {}
    items = [_item(item, report) for item in gallery.get("items") or ()]
    if items:
        html("gallery", items=items, rules=gallery.get("rule") or {})
    for split in splits[1:]:
        _split(report, split)
    html("report_cost", cost=report.get("cost") or [])


def _split(report: words.Json, split: str) -> None:
    by_arm = report["metrics"][split]
    html("report_split", split=split, by_arm=by_arm, **_tables(by_arm))
    html("report_changes", differences=(report.get("differences") or {}).get(split) or [])


def _models(report: words.Json) -> list[tuple[str, words.Json]]:
    found = report.get("models") or {}
    return [(arm, found[arm]) for arm in words.arms_in_order(found)]


def _tables(by_arm: words.Json) -> dict[str, Any]:
    """Rows of a split's table: the statistics that there are, then groups, or else classes."""
    arms = words.arms_in_order(by_arm)
    grouped = any(by_arm[arm].get("worst_group_accuracy") is not None for arm in arms)
    among = "groups" if grouped else "classes"
    statistics = [
        (key, name, note)
        for key, (name, note) in words.STATISTICS.items()
        if any(by_arm[arm].get(key) is not None for arm in arms)
        and not (grouped and key == "worst_class_accuracy")
    ]
    slices = by_arm[arms[0]].get(among) or [] if arms else []
    rows = []
    for entry in slices[:MOST_GROUPS]:
        same = [next((s for s in by_arm[arm][among] if s["id"] == entry["id"]), None) for arm in arms]
        rows.append((entry["name"], entry["n"], same))
    lowest = {arm: min((s["accuracy"] for s in by_arm[arm].get(among) or ()), default=None) for arm in arms}
    return {"arms": arms, "statistics": statistics, "rows": rows, "among": among, "lowest": lowest}


def _item(item: words.Json, report: words.Json) -> dict[str, Any]:
    """One image of the gallery; its pictures are made anew by the models themselves."""
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
