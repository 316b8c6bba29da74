"""The evidence on a report's page: signs of a shortcut, slices, where models look, what may be trusted.

Each builder takes the report's JSON and returns the content for the template, or None if the report lacks
the section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from app.reports import labels as words
from app.reports import notes
from app.reports import plots as figures
from app.reports import sentences as answers
from app.reports.view import (
    CutClass,
    Figure,
    Gaze,
    MaskCost,
    MeanLook,
    Properties,
    PropertyRow,
    Row,
    Shortcut,
    Sign,
    Slice,
    Slices,
    Trust,
    Wish,
)

Picture = Callable[[str], str]
PROPERTIES = 6
"""Limit of rows in the table of simple properties; the JSON has all of them."""


def build_shortcut(report: words.Json, arms: Sequence[str], picture: Picture) -> Shortcut | None:
    found = report.get("shortcut")
    if not found:
        return None
    tone, title = answers.READINGS[found["reading"]]
    return Shortcut(
        tone=tone,
        title=title,
        reason=found.get("reason") or "",
        model=words.ARM_NAMES[(report.get("gaze") or {}).get("before", arms[0])],
        signs=tuple(
            Sign(sign["found"], notes.SIGNS[sign["name"]], sign["sentence"])
            for sign in sorted(found["signs"], key=lambda sign: not sign["found"])
        ),
        rule=found["rule"],
        costs=_costs(report.get("masking_cost") or {}, arms),
        properties=_properties(report.get("properties")),
        slices=_slices(report.get("slices"), arms, picture),
    )


def _costs(by_split: words.Json, arms: Sequence[str]) -> tuple[MaskCost, ...]:
    rows = []
    for split, by_arm in by_split.items():
        for arm in (arm for arm in arms if arm in by_arm):
            cost = by_arm[arm]
            told = {each["name"]: each for each in cost["arms"]}
            rows.append(
                MaskCost(
                    arm=arm,
                    name=words.ARM_NAMES[arm],
                    split=split,
                    n=cost["n"],
                    masked=_told(cost["masked_share"], cost["masked_low"], cost["masked_high"]),
                    cells=tuple(
                        _told(told[m]["accuracy"], told[m]["low"], told[m]["high"])
                        for m in ("plain", "own", "elsewhere")
                    ),
                    changed=tuple(
                        _told(told[m]["changed_share"], told[m]["changed_low"], told[m]["changed_high"])
                        for m in ("own", "elsewhere")
                    ),
                )
            )
    return tuple(rows)


def _told(share: float, low: float, high: float) -> tuple[str, str]:
    return words.percent(share), f"{100 * low:.1f} – {100 * high:.1f}"


def _properties(check: words.Json | None) -> Properties | None:
    if not check or not check["findings"]:
        return None
    findings = check["findings"]
    elsewhere = next((f["elsewhere"]["split"] for f in findings if f["elsewhere"]), None)
    return Properties(
        sentence=check["sentence"],
        rule=check["rule"],
        n=check["n"],
        split=check["split"],
        elsewhere=elsewhere,
        rows=tuple(_property(found) for found in findings[:PROPERTIES]),
        more=max(0, len(findings) - PROPERTIES),
    )


def _property(found: words.Json) -> PropertyRow:
    there = found["elsewhere"]
    return PropertyRow(
        name=found["property"],
        strength=found["strength"],
        accuracy=_told(found["accuracy"], found["low"], found["high"]),
        majority=words.percent(found["majority"]),
        effect=(
            f"{found['effect']:.2f}".replace("-", "−"),
            f"{found['effect_low']:.2f} – {found['effect_high']:.2f}".replace("-", "−"),
        ),
        p_value=f"{found['p_value']:.3f}",
        elsewhere=None if not there else _told(there["accuracy"], there["low"], there["high"]),
    )


def _slices(section: words.Json | None, arms: Sequence[str], picture: Picture) -> Slices | None:
    if not section:
        return None
    cut = tuple(
        CutClass(
            name=each["class_name"],
            slices=tuple(
                _slice(part, arms, picture) for part in section["slices"] if part["label"] == each["label"]
            ),
            agreement=notes.agreement(each["agreement"]),
        )
        for each in section["classes"]
        if each["slices"] > 1
    )
    return Slices(
        model=words.ARM_NAMES[section["model"]],
        split=section["split"],
        n=section["n"],
        of=section["of"],
        rule=section["rule"],
        cut=cut,
        whole=notes.whole_classes(
            [e["class_name"] for e in section["classes"] if e["slices"] == 1], len(cut)
        ),
    )


def _slice(part: words.Json, arms: Sequence[str], picture: Picture) -> Slice:
    told = {each["model"]: each for each in part["accuracies"]}
    return Slice(
        row=Row(
            f"Slice {part['index'] + 1}",
            f"{words.percent(part['share'])} of its class",
            part["n"],
            tuple(
                Figure(arm, told[arm]["accuracy"], told[arm]["low"], told[arm]["high"], told[arm]["n"])
                for arm in arms
                if arm in told
            ),
        ),
        picture=picture(part["picture"]) if part["picture"] else None,
        shown=part["shown"],
    )


def build_gaze(report: words.Json, arms: Sequence[str], picture: Picture) -> Gaze | None:
    section = report.get("gaze")
    if not section:
        return None
    movement = section["movement"] or {"all": None, "classes": []}
    by_class = {each["name"]: each for each in movement["classes"]}
    return Gaze(
        split=section["split"],
        n=section["n"],
        of=section["of"],
        moved=notes.moved(movement["all"], section["after"]),
        means=tuple(
            MeanLook(
                name=each["class_name"],
                n=each["n"],
                averaged=each["averaged"],
                image=picture(each["image"]),
                arms=tuple(
                    (arm, words.ARM_NAMES[arm], picture(each["arms"][arm]))
                    for arm in arms
                    if arm in each["arms"]
                ),
                moved=_moved(by_class.get(each["class_name"])),
            )
            for each in section["pictures"]
        ),
    )


def _moved(share: words.Json | None) -> str | None:
    if share is None or share["mean"] is None:
        return None
    value, interval = _told(share["mean"], share["low"], share["high"])
    return f"{value} ({interval})"


def build_trust(report: words.Json, arms: Sequence[str]) -> Trust | None:
    curves = report.get("risk_coverage")
    if not curves:
        return None
    certified: Mapping[str, words.Json] = report.get("certified") or {}
    keys = [arm for arm in arms if arm in certified]
    first = certified[keys[0]] if keys else None
    return Trust(
        confidence="" if first is None else words.whole_percent(first["confidence"]),
        n=0 if first is None else first["n"],
        copies="" if first is None else notes.copies(first.get("copies_left_out")),
        wishes=()
        if first is None
        else tuple(
            Wish(
                words.whole_percent(wish["max_risk"]),
                tuple((arm, *notes.wish(certified[arm]["wishes"][at])) for arm in keys),
            )
            for at, wish in enumerate(first["wishes"])
        ),
        best=tuple((arm, notes.best_risk(certified[arm]["best_certifiable_risk"])) for arm in keys),
        curves=tuple(
            (split, notes.SPLITS.get(split, ""), _curves(curves[split], arms, f"risk-{split}"))
            for split in ("calibration", "test", "val")
            if split in curves and (split != "val" or "test" not in curves)
        ),
    )


def _curves(by_arm: words.Json, arms: Sequence[str], name: str) -> Markup:
    return figures.risk_coverage([(arm, by_arm[arm]) for arm in arms if arm in by_arm], name=name)
