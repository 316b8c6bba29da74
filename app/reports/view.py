"""Data for the template of a report: figures and sentences ready to print."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from masktune.contract.report.base import ArmName
from masktune.contract.report.text import Answer, Verdict, percent
from masktune.contract.report.text.names import ARM_NAMES


@dataclass(frozen=True)
class Arm:
    key: ArmName
    name: str
    model: str
    backbone: str


@dataclass(frozen=True)
class Figure:
    """A share in 0..1 with its interval, if it has one."""

    arm: ArmName
    value: float
    low: float | None
    high: float | None
    n: int | None
    lowest: bool = False

    @property
    def name(self) -> str:
        return ARM_NAMES[self.arm]

    @property
    def text(self) -> str:
        return percent(self.value)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{percent(self.low)} – {percent(self.high)}"


@dataclass(frozen=True)
class Row:
    """A statistic, class or group, with a figure for each arm."""

    name: str
    note: str
    n: int | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Change:
    """The arm after minus another, in points. `left`, `right`, `at` and `zero` are positions in percent."""

    against: str
    statistic: str
    text: str
    interval: str
    detail: str
    sign: str
    left: float
    right: float
    at: float
    zero: float


@dataclass(frozen=True)
class Reliability:
    """How reliable a model's probabilities are; `note` compares the error with what chance would give.

    `at_temperature` is about the probabilities that predictions show. `ece` and `figure` are empty if answers
    are not finite numbers.
    """

    arm: str
    name: str
    ece: str
    note: str
    at_temperature: str
    figure: Markup


@dataclass(frozen=True)
class GalleryAnswer:
    """One model on one image of the gallery."""

    arm: str
    name: str
    label: str
    probability: str
    correct: bool
    overlay: str
    mask: str


@dataclass(frozen=True)
class GalleryItem:
    sample: int
    path: str
    label: str
    group: str | None
    rule: str
    shift: str | None
    image: str
    answers: tuple[GalleryAnswer, ...]


@dataclass(frozen=True)
class Cost:
    stage: str
    seconds: str
    rate: str
    device: str
    share: float
    """Percent of the longest stage."""


@dataclass(frozen=True)
class SplitPage:
    """One split: every statistic, group and difference."""

    name: str
    n: int
    note: str
    """Whether the models were trained on its images."""
    summary: tuple[Row, ...]
    groups: tuple[Row, ...]
    classes: tuple[Row, ...]
    changes: tuple[Change, ...]
    reliability: tuple[Reliability, ...]
    disagreement: str | None
    background: str | None
    """The background gap of each model, if the split has one."""


@dataclass(frozen=True)
class ReportPage:
    job: str
    kind: str
    dataset: str
    dataset_id: str
    facts: tuple[str, ...]
    created: str
    arms: tuple[Arm, ...]
    verdict: Verdict
    training_note: str | None
    answers: tuple[Answer, ...]
    shortcut_question: str
    help_question: str
    trust_question: str
    after: str
    """Name of the arm that the others are compared with, for use inside a sentence."""
    main: SplitPage | None
    others: tuple[SplitPage, ...]
    differences_note: str
    gallery_lead: str
    gallery_rules: tuple[tuple[str, str], ...]
    gallery_order: str
    gallery: tuple[GalleryItem, ...]
    masks: tuple[tuple[str, str], ...]
    costs: tuple[Cost, ...]
    total: str
    glossary: tuple[tuple[str, str], ...]


# --- the evidence: signs of a shortcut, slices, where models look, what may be trusted ---------


@dataclass(frozen=True)
class Sign:
    present: bool
    name: str
    sentence: str


@dataclass(frozen=True)
class MaskCost:
    """One model on one split under masks; each figure as (share, interval)."""

    arm: ArmName
    name: str
    split: str
    n: int
    masked: tuple[str, str]
    cells: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PropertyRow:
    name: str
    strength: str
    accuracy: tuple[str, str]
    majority: str
    effect: tuple[str, str]
    p_value: str
    elsewhere: tuple[str, str] | None


@dataclass(frozen=True)
class Properties:
    sentence: str
    rule: str
    n: int
    split: str
    elsewhere: str | None
    rows: tuple[PropertyRow, ...]
    more: int


@dataclass(frozen=True)
class Slice:
    row: Row
    picture: str | None
    n_pictured: int


@dataclass(frozen=True)
class DividedClass:
    name: str
    slices: tuple[Slice, ...]
    agreement: str | None


@dataclass(frozen=True)
class Slices:
    model: str
    split: str
    n: int
    split_size: int
    rule: str
    divided: tuple[DividedClass, ...]
    undivided: str


@dataclass(frozen=True)
class ShortcutPart:
    """Whether the original model relies on a shortcut."""

    tone: str
    title: str
    reason: str
    """Why it is not testable; empty if it is."""
    model: str
    signs: tuple[Sign, ...]
    rule: str
    costs: tuple[MaskCost, ...]
    properties: Properties | None
    slices: Slices | None


@dataclass(frozen=True)
class MeanMap:
    """A class's mean image, plain and under each model's mean map."""

    name: str
    n: int
    n_averaged: int
    image: str
    arms: tuple[tuple[ArmName, str, str], ...]
    shift: str | None


@dataclass(frozen=True)
class Saliency:
    split: str
    n: int
    split_size: int
    shift: str | None
    means: tuple[MeanMap, ...]


@dataclass(frozen=True)
class Target:
    risk: str
    figures: tuple[tuple[ArmName, str, str], ...]
    """Tuples (arm, share that would be answered or "none", counts behind it)."""


@dataclass(frozen=True)
class Trust:
    confidence: str
    n: int
    copies: str
    targets: tuple[Target, ...]
    best: tuple[tuple[ArmName, str], ...]
    curves: tuple[tuple[str, str, Markup], ...]
    """Tuples (split, caption, figure)."""
