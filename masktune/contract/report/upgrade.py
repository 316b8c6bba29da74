"""Reports of earlier versions, rewritten to this one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from masktune.contract.report.report import Report

VERSION = 5

Json = dict[str, Any]

_EVIDENCE = {"leans": "strong", "some_signs": "some", "no_sign": "none_seen", "not_judged": "not_testable"}
_DEGREES = {"follows": "high", "partly": "partial", "misses": "low"}
_SECTIONS = {
    "shortcut": "shortcut_reliance",
    "gaze": "saliency",
    "certified": "certificates",
    "reliability_shown": "reliability_at_temperature",
}
"""Sections whose names have changed since version 2."""


def read_report(text: str) -> Report:
    """Read a report of this version or an earlier one. NaN and infinities, which JSON lacks, become null."""
    return Report.model_validate(upgrade(json.loads(text, parse_constant=lambda _: None)))


def upgrade(report_json: Json) -> Json:
    """Return the JSON of a report of any earlier version, or without one, as this version."""
    version = report_json.get("version", 1)
    if version >= VERSION:
        return report_json
    for made, change in ((3, _version_3), (4, _version_4), (5, _version_5)):
        report_json = change(report_json) if version < made else report_json
    return report_json | {"version": VERSION}


def _version_5(report: Json) -> Json:
    """A verdict without groups cannot tell harm from a shortcut that was given up."""
    verdicts = {arm: _harm_by_groups(section) for arm, section in report.get("verdicts", {}).items()}
    return report | {"verdicts": verdicts} | _changed(report, {"verdict": _harm_by_groups})


def _harm_by_groups(section: Json) -> Json:
    if section["verdict"] != "hurt" or section["deciding_difference"]["statistic"] == "worst_group_accuracy":
        return section
    return section | {"verdict": "not_testable", "reason": "shortcut_or_harm"}


def _version_4(report: Json) -> Json:
    """Verdicts know what cannot be tested; pictures are layers over an image."""
    change: Mapping[str, Callable[[Json], Json]] = {
        "verdict": _testable_verdict,
        "shortcut_reliance": _testable_reliance,
        "saliency": _layered_means,
        "slices": _layered_slices,
        "gallery": _layered_gallery,
        "masking_cost": _without_scattered,
    }
    return report | _changed(report, change)


def _testable_verdict(section: Json) -> Json:
    """Before version 4, a test split without groups was said to show no effect."""
    statistic = section["deciding_difference"]["statistic"]
    if section["verdict"] != "no_detectable_effect" or statistic == "worst_group_accuracy":
        return section
    return section | {"verdict": "not_testable", "reason": "no_groups"}


def _testable_reliance(section: Json) -> Json:
    """Before version 4, a test split without groups was said to show no sign of a shortcut."""
    if section["evidence"] != "none_seen" or any(sign["name"] == "groups" for sign in section["signs"]):
        return section
    return section | {"evidence": "not_testable", "reason": "The test split has no groups."}


def _layered_means(section: Json) -> Json:
    """Before version 4, a map's picture had the image in it: laid over the image, it hides it."""
    return section | {"pictures": [_rename(picture, {"arms": "heatmaps"}) for picture in section["pictures"]]}


def _layered_slices(section: Json) -> Json:
    return section | {"slices": [part | {"heatmap": None} for part in section["slices"]]}


def _layered_gallery(section: Json) -> Json:
    def answer(part: Json) -> Json:
        return _rename(part, {"overlay": "heatmap"}) | {"mask_outline": None}

    return section | {
        "items": [
            item | {"arms": {arm: answer(of) for arm, of in item["arms"].items()}}
            for item in section["items"]
        ]
    }


def _without_scattered(section: Json) -> Json:
    """Before version 4, as many pixels were also masked at random, each by itself: it decided nothing."""

    def part(of: Json) -> Json:
        return of | {"arms": [arm for arm in of["arms"] if arm["name"] != "scattered"]}

    def cost(of_arm: Json) -> Json:
        return part(of_arm) | {name: [part(of) for of in of_arm[name]] for name in ("classes", "groups")}

    return _by_split(section, lambda by_arm: {arm: cost(of_arm) for arm, of_arm in by_arm.items()})


def _version_3(report_json: Json) -> Json:
    report: Json = _rename(report_json, _SECTIONS)
    arm = _arms(report["kind"])
    for name in ("models", "temperature"):
        report[name] = _by_arm(report.get(name), arm)
    report["before"] = arm(report.get("before"))
    report["certificates"] = _by_arm(report.get("certificates"), arm, _certificates)
    for name in ("metrics", "background_gap", "masking_cost", "risk_coverage"):
        report[name] = _by_split(report.get(name), lambda by_arm: _by_arm(by_arm, arm))
    for name in ("reliability", "reliability_at_temperature"):
        report[name] = _by_split(report.get(name), lambda by_arm: _by_arm(by_arm, arm, _reliability))
    report["differences"] = _by_split(report["differences"], lambda rows: [_pair(row, arm) for row in rows])
    change: Mapping[str, Callable[[Json], Json]] = {
        "verdict": lambda section: _verdict(section, arm),
        "shortcut_reliance": _shortcut_reliance,
        "saliency": lambda section: _saliency(section, arm),
        "slices": lambda section: _slices(section, arm),
        "gallery": lambda section: _gallery(section, arm),
        "groups": lambda section: _groups(section, arm),
    }
    return report | _changed(report, change)


def _changed(report: Json, change: Mapping[str, Callable[[Json], Json]]) -> Json:
    return {name: of(report[name]) for name, of in change.items() if report.get(name) is not None}


Arm = Callable[[str | None], str | None]


def _arms(kind: str) -> Arm:
    """The names of arms in a report of a job of this kind; of an unknown job, a control is MaskTune's."""
    control = "retrained_control" if kind == "retrain_head" else "masktune_control"
    names = {"given": "baseline", "control": control}
    return lambda arm: None if arm is None else names.get(arm, arm)


def _rename(section: Json, names: Mapping[str, str]) -> Json:
    return {names.get(name, name): part for name, part in section.items()}


def _by_split(section: Json | None, change: Callable[[Any], Any]) -> Json:
    return {split: change(part) for split, part in (section or {}).items()}


def _by_arm(section: Json | None, arm: Arm, change: Callable[[Any], Any] = lambda part: part) -> Json:
    return {str(arm(name)): change(part) for name, part in (section or {}).items()}


def _pair(section: Json, arm: Arm) -> Json:
    return section | {"a": arm(section["a"]), "b": arm(section["b"])}


def _verdict(section: Json, arm: Arm) -> Json:
    names = {"deciding": "deciding_difference", "average": "accuracy_difference"}
    return _rename(_pair(section, arm), names)


def _reliability(section: Json | None) -> Json | None:
    """In version 1, one answer that was not finite made every figure null; since then it is left out."""
    return None if section is None or section["ece"] is None else section


def _certificates(section: Json) -> Json:
    targets = [_rename(target, {"together": "simultaneous"}) for target in section["wishes"]]
    return _rename(section, {"wishes": "targets"}) | {"targets": targets}


def _shortcut_reliance(section: Json) -> Json:
    signs = [_rename(sign, {"found": "present"}) for sign in section["signs"]]
    renamed = _rename(section, {"reading": "evidence"})
    return renamed | {"evidence": _EVIDENCE[section["reading"]], "signs": signs}


def _saliency(section: Json, arm: Arm) -> Json:
    names = {"class": "class_name", "averaged": "n_averaged"}
    return _rename(section, {"movement": "shift", "of": "split_size"}) | {
        "before": arm(section["before"]),
        "after": arm(section["after"]),
        "mean_maps": _by_arm(section["mean_maps"], arm),
        "pictures": [
            _rename(picture, names) | {"arms": _by_arm(picture["arms"], arm)}
            for picture in section["pictures"]
        ],
    }


def _slices(section: Json, arm: Arm) -> Json:
    def accuracies(part: Json) -> list[Json]:
        return [row | {"model": arm(row["model"])} for row in part["accuracies"]]

    return _rename(section, {"of": "split_size"}) | {
        "model": arm(section["model"]),
        "classes": [each | {"agreement": _agreement(each["agreement"])} for each in section["classes"]],
        "slices": [
            _rename(part, {"shown": "n_pictured"}) | {"accuracies": accuracies(part)}
            for part in section["slices"]
        ],
    }


def _agreement(section: Json | None) -> Json | None:
    if section is None:
        return None
    return _rename(section, {"reading": "degree"}) | {"degree": _DEGREES[section["reading"]]}


def _gallery(section: Json, arm: Arm) -> Json:
    names = {"moved": "shift", "masked": "masked_share"}

    def answer(part: Json) -> Json:
        return _rename(part, {"right": "correct"})

    return _rename(section, {"rule": "rules", "turns": "class_balanced_order"}) | {
        "items": [
            _rename(image, names) | {"arms": _by_arm(image["arms"], arm, answer)}
            for image in section["items"]
        ]
    }


def _groups(section: Json, arm: Arm) -> Json:
    return section | {
        "source": "labels" if section["source"] == "given" else section["source"],
        "held_out": _by_arm(section["held_out"], arm),
        "slices": [part | {"accuracies": _by_arm(part["accuracies"], arm)} for part in section["slices"]],
    }
