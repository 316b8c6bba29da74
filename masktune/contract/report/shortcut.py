"""Whether the model before relies on a shortcut: signs, simple properties of images, costs of masks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from pydantic import Field

from masktune.contract.report.accuracy import Difference
from masktune.contract.report.base import Proportion, Section

Evidence = Literal["strong", "large_gap", "some", "none_seen", "not_testable"]
SignName = Literal["groups", "shift", "mask", "property"]
SignKind = Literal["failure", "cause"]
Strength = Literal["strong", "weak", "none"]
MaskArm = Literal["plain", "own", "elsewhere"]

MOST_ROWS = 8
"""Of columns, and of properties of images, that a table shows."""


class Sign(Section):
    """One check on `n` samples: whether it is a sign of a shortcut, and a sentence with its figures."""

    name: SignName
    kind: SignKind
    present: bool
    n: int
    sentence: str


class ShortcutReliance(Section):
    """The signs, what they amount to, and the rule. `reason` says why it could not be tested."""

    evidence: Evidence
    rule: str
    signs: list[Sign]
    reason: str | None = None


class ClassEffect(Section):
    """The class that a property tells best from the others: `hits` of `n`, and `false` of `others`."""

    name: str
    n: int
    hits: int
    others: int
    false: int
    effect: float
    low: float
    high: float


class PropertyTransfer(Proportion):
    """The rule learned on the judged split, applied to the samples of another split."""

    split: str


class PropertyFinding(Proportion):
    """How well one property predicts the class, by cross-validation.

    `majority` is the share of the largest class, `chance` one over the number of classes. `effect` is 0 at
    chance and 1 at best. `p_value` is family-wise over all properties.
    """

    property: str
    where: str
    features: list[str]
    strength: Strength
    majority: float
    balanced_accuracy: float
    balanced_low: float
    balanced_high: float
    chance: float
    effect: float
    effect_low: float
    effect_high: float
    p_value: float
    best_class: ClassEffect
    elsewhere: PropertyTransfer | None
    sentence: str

    def may_be_object(self, regions: Collection[str]) -> bool:
        """Whether this is where the object may be, in one of `regions`.
        Not if the rule fails on another split: the object tells the classes there too."""
        return self.where in regions and not (self.elsewhere and self.elsewhere.high < self.low)


class _Check(Section):
    """What predicts the class."""

    strength: Strength
    sentence: str
    findings: list[PropertyFinding]


class MetadataCheck(_Check):
    """Which columns of metadata predict the class, on the same images; strongest first. `notes` say which
    columns were not judged, and why."""

    notes: list[str]


class PropertyCheck(_Check):
    """Which simple properties of the images predict the class, as the import measured it; strongest first.

    `n` of the `available` pictures were judged, one of each subject where there are any.
    """

    split: str
    n: int
    available: int
    classes: list[str]
    left_out: list[str]
    permutations: int
    rule: str
    metadata: MetadataCheck | None = Field(None, description="Null for a data set without metadata.")

    @property
    def rows(self) -> list[PropertyFinding]:
        """What a table shows: the strongest columns of metadata, then the strongest properties of images."""
        return [
            finding
            for findings in (self.metadata.findings if self.metadata else [], self.findings)
            for finding in sorted(findings[:MOST_ROWS], key=lambda one: -one.balanced_accuracy)
        ]


class MaskedAccuracy(Proportion):
    """Answers of one model with nothing masked (`plain`), under its own mask, or under that mask elsewhere;
    `changed` of them differ from the plain ones."""

    name: MaskArm
    changed: int
    changed_share: float
    changed_low: float
    changed_high: float


class SliceMaskingCost(Section):
    """The masks on the images of one class or group."""

    id: int
    name: str
    n: int
    masked_share: float
    arms: list[MaskedAccuracy]


class MaskingCost(Section):
    """How masks change the answers of one model on `n` images.

    `masked_share` is the mean share of pixels in the model's own mask. `cost` is the accuracy plain − own
    mask, `beyond_elsewhere` that with the mask elsewhere − own. `changes_beyond_elsewhere` compares the
    shares of changed answers instead: above 0, the model depends on what its mask hides.
    """

    n: int
    masked_share: float
    masked_low: float
    masked_high: float
    nothing_masked: int
    arms: list[MaskedAccuracy]
    cost: Difference
    beyond_elsewhere: Difference
    changes_beyond_elsewhere: Difference
    classes: list[SliceMaskingCost]
    groups: list[SliceMaskingCost]
    sentence: str

    def under(self, name: MaskArm) -> MaskedAccuracy:
        """The answers under one of the masks."""
        return next(arm for arm in self.arms if arm.name == name)
