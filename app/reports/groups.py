"""The groups over which a last layer was balanced, for the report's page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.reports import labels as words
from app.reports.view import Figure, Row

_SOURCES = {
    "given": (
        "The data set's own groups, which somebody labelled. Here they were trained on: a ceiling for what a "
        "guess could reach."
    ),
    "cross_mistakes": (
        "A guess. A sample is in the second group of its class if heads fitted without it predict another "
        "class; its weight in each group is how confident they are of it."
    ),
    "disagreement": "A guess. A sample is in the second group of its class if two models disagree on it.",
    "saliency_clusters": "A guess. The samples of a class are divided by where the model looks in them.",
}


_UNDIVIDED = (
    "No class was divided, so there was nothing to balance over and the retrained head equals its control."
)
_ADVICE = {
    "cross_mistakes": (
        " A backbone that fits every training sample leaves no mistakes to find: try a model trained for "
        "fewer epochs."
    ),
    "disagreement": " The two models give the same answers on the samples that they were trained on.",
}


@dataclass(frozen=True)
class Example:
    sample: int
    path: str
    image: str


@dataclass(frozen=True)
class GroupRow:
    """One group: each model's accuracy on it, and its samples."""

    row: Row
    share: str
    known: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class GroupsPage:
    """The section's content. The page marks each `inferred` group as not labelled by anybody."""

    inferred: bool
    title: str
    lead: str
    warning: str
    note: str
    rows: tuple[GroupRow, ...]


def build_groups(
    section: words.Json | None, arms: tuple[str, ...], picture: Callable[[str], str]
) -> GroupsPage | None:
    """Build the report's section `groups`; None if the job retrained no head. `arms` are in reading order."""
    if not section:
        return None
    inferred = section["inferred"]
    return GroupsPage(
        inferred=inferred,
        title="Inferred groups" if inferred else "Balanced groups",
        lead=f"{_SOURCES[section['source']]} The last layer was balanced over them; the backbone was kept.",
        warning="" if section["divided"] else _UNDIVIDED + _ADVICE.get(section["source"], ""),
        note=_note(section),
        rows=tuple(_group(part, arms, picture) for part in section["slices"]),
    )


def _group(part: words.Json, arms: tuple[str, ...], picture: Callable[[str], str]) -> GroupRow:
    found = part["accuracies"]
    figures = tuple(
        Figure(arm, found[arm]["accuracy"], found[arm]["low"], found[arm]["high"], found[arm]["n"])
        for arm in arms
        if arm in found and found[arm]["n"]
    )
    known = part["true_groups"] or {} if part["inferred"] else {}
    return GroupRow(
        row=Row(part["name"], "", part["n"], figures),
        share=words.percent(part["share"]),
        known=", ".join(f"{n:,} of “{name}”" for name, n in known.items()),
        examples=tuple(Example(e["sample"], e["path"], picture(e["image"])) for e in part["examples"]),
    )


def _note(section: words.Json) -> str:
    seen = [words.ARM_NAMES[arm] for arm, held_out in section["held_out"].items() if not held_out]
    note = f"Accuracies are on the {section['n']:,} training samples."
    if len(seen) < len(section["held_out"]):
        note += " Those of the new heads come from equivalent heads that did not see the sample"
        note += f"; {' and '.join(seen)} had seen all of them and looks better for it." if seen else "."
    if section["inferred"]:
        note += (
            " A group inferred from mistakes is hard by construction: what the change is worth is said by "
            "the verdict, on samples held out from training."
        )
    return note
