"""Reports of earlier versions, rewritten to this one."""

from __future__ import annotations

import json
from typing import Any

from masktune.contract.report.report import Report

VERSION = 3

Json = dict[str, Any]


def read_report(text: str) -> Report:
    """Read a report of this version or an earlier one. NaN and infinities, which JSON lacks, become null."""
    return Report.model_validate(upgrade(json.loads(text, parse_constant=lambda _: None)))


def upgrade(report_json: Json) -> Json:
    """Return the JSON of a report of any earlier version, or without one, as version 3."""
    if report_json.get("version", 1) >= VERSION:
        return report_json
    report = report_json | {"version": VERSION}
    for section in ("reliability", "reliability_shown"):
        report[section] = _each_arm(report.get(section) or {}, _reliability)
    if report.get("gaze"):
        report["gaze"] = report["gaze"] | {"pictures": [_picture(one) for one in report["gaze"]["pictures"]]}
    return report


def _each_arm(by_split: Json, change: Any) -> Json:
    return {
        split: {arm: change(section) for arm, section in by_arm.items()} for split, by_arm in by_split.items()
    }


def _reliability(section: Json | None) -> Json | None:
    """In version 1, one answer that was not finite made every figure null; since then it is left out."""
    return None if section is None or section["ece"] is None else section


def _picture(picture: Json) -> Json:
    return {"class_name": picture["class"]} | {key: of for key, of in picture.items() if key != "class"}
