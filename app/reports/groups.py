"""The groups over which a last layer was balanced, for the report's page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.reports.view import Figure, Row
from masktune.contract.report.base import ArmName
from masktune.contract.report.groups import BalancedGroups, GroupSlice
from masktune.contract.report.text import groups as text
from masktune.contract.report.text import percent


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
    true_groups: str
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
    section: BalancedGroups | None, arms: Sequence[ArmName], picture: Callable[[str], str]
) -> GroupsPage | None:
    """Build the report's section `groups`; None if the job retrained no head. `arms` are in reading order."""
    if section is None:
        return None
    return GroupsPage(
        inferred=section.inferred,
        title=text.groups_title(section),
        lead=text.groups_lead(section),
        warning=text.groups_warning(section),
        note=text.groups_note(section),
        rows=tuple(_group(group, arms, picture) for group in section.slices),
    )


def _group(group: GroupSlice, arms: Sequence[ArmName], picture: Callable[[str], str]) -> GroupRow:
    measured = [(arm, group.accuracies[arm]) for arm in arms if arm in group.accuracies]
    figures = tuple(Figure(arm, of.accuracy, of.low, of.high, of.n) for arm, of in measured if of.n)
    return GroupRow(
        row=Row(group.name, "", group.n, figures),
        share=percent(group.share),
        true_groups=text.true_groups(group),
        examples=tuple(Example(one.sample, one.path, picture(one.image)) for one in group.examples),
    )
