"""Data for the template of a report: figures and words ready to print."""

from __future__ import annotations

from dataclasses import dataclass, field

from markupsafe import Markup

from app.reports import labels as words
from app.reports.sentences import Answer, VerdictWords


@dataclass(frozen=True)
class Arm:
    key: str
    name: str
    model: str
    backbone: str


@dataclass(frozen=True)
class Figure:
    """A share in 0..1 with its interval, if it has one."""

    arm: str
    value: float
    low: float | None
    high: float | None
    n: int | None
    lowest: bool = False

    @property
    def name(self) -> str:
        return words.ARM_NAMES[self.arm]

    @property
    def text(self) -> str:
        return words.percent(self.value)

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"{words.percent(self.low)} – {words.percent(self.high)}"


@dataclass(frozen=True)
class Row:
    """A statistic, class or group, with a figure for each arm."""

    name: str
    note: str
    n: int | None
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Change:
    """The judged arm minus another, in points. `left`, `right`, `at` and `zero` are positions in percent."""

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

    `shown` is about the probabilities at the model's temperature, which predictions show. `ece` and `figure`
    are empty if answers are not finite numbers.
    """

    arm: str
    name: str
    ece: str
    note: str
    shown: str
    figure: Markup


@dataclass(frozen=True)
class Look:
    """One model on one image of the gallery."""

    arm: str
    name: str
    label: str
    probability: str
    right: bool
    overlay: str
    mask: str


@dataclass(frozen=True)
class Item:
    sample: int
    path: str
    label: str
    group: str | None
    rule: str
    moved: str | None
    image: str
    looks: tuple[Look, ...]


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
    unseen: str
    """Whether the models were trained on its images, as a relative clause."""
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
    made: str
    arms: tuple[Arm, ...]
    verdict: VerdictWords
    training_note: str | None
    answers: tuple[Answer, ...]
    main: SplitPage | None
    others: tuple[SplitPage, ...]
    gallery_rules: tuple[tuple[str, str], ...]
    gallery_turns: str
    gallery: tuple[Item, ...]
    masks: tuple[tuple[str, str], ...]
    costs: tuple[Cost, ...]
    total: str
    judged: str = words.ARM_NAMES["masktune"]
    """Name of the arm that the others are compared with, for use inside a sentence."""
    question: str = "Did MaskTune help?"
    changed: bool = True
    """Whether the report has a model after the change, not only the one before."""
    glossary: tuple[tuple[str, str], ...] = field(default=words.GLOSSARY)


# --- the evidence: signs of a shortcut, slices, where models look, what may be trusted ---------


@dataclass(frozen=True)
class Sign:
    found: bool
    what: str
    sentence: str


@dataclass(frozen=True)
class MaskCost:
    """One model on one split under masks; each figure as (share, interval)."""

    arm: str
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
    shown: int


@dataclass(frozen=True)
class CutClass:
    name: str
    slices: tuple[Slice, ...]
    agreement: str | None


@dataclass(frozen=True)
class Slices:
    model: str
    split: str
    n: int
    of: int
    rule: str
    cut: tuple[CutClass, ...]
    whole: str


@dataclass(frozen=True)
class Shortcut:
    """Whether the original model leans on a shortcut."""

    tone: str
    title: str
    reason: str
    """Why it was not judged; empty if it was."""
    model: str
    signs: tuple[Sign, ...]
    rule: str
    costs: tuple[MaskCost, ...]
    properties: Properties | None
    slices: Slices | None


@dataclass(frozen=True)
class MeanLook:
    """A class's mean image, plain and under each model's mean map."""

    name: str
    n: int
    averaged: int
    image: str
    arms: tuple[tuple[str, str, str], ...]
    moved: str | None


@dataclass(frozen=True)
class Gaze:
    split: str
    n: int
    of: int
    moved: str | None
    means: tuple[MeanLook, ...]


@dataclass(frozen=True)
class Wish:
    risk: str
    figures: tuple[tuple[str, str, str], ...]
    """Tuples (arm, share that would be answered or "none", counts behind it)."""


@dataclass(frozen=True)
class Trust:
    confidence: str
    n: int
    copies: str
    wishes: tuple[Wish, ...]
    best: tuple[tuple[str, str], ...]
    curves: tuple[tuple[str, str, Markup], ...]
    """Tuples (split, caption, figure)."""
