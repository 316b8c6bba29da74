"""Accuracies by metadata: exploratory, for nobody named these slices beforehand."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.report.base import Proportion, Section
from masktune.contract.vocabulary import Arm


class SliceAgainstRest(Proportion):
    """Accuracy of one model on the images of a slice, and on all others of the split."""

    rest: Proportion

    @property
    def is_lower(self) -> bool:
        """Whether the interval lies below that of the rest."""
        return self.high < self.rest.low


class MetadataSlice(Section):
    """The `n` images whose `column` has this `value`, or a number in this band: null where the cell is empty.
    `n_subjects` is null without any."""

    column: str
    value: str | None
    n: int
    n_subjects: int | None
    accuracies: dict[Arm, SliceAgainstRest]


class MetadataSlices(Section):
    """Each model on slices by metadata, each picture once. `notes` say which columns or values have no slice.

    Each interval holds at `confidence`, so that all `comparisons`, of a model and a slice each, hold together
    at 95 % (Bonferroni). They count subjects.
    """

    exploratory: Literal[True]
    rule: str
    split: str
    n: int
    comparisons: int
    confidence: float = Field(description="Of each interval.")
    slices: list[MetadataSlice]
    notes: list[str]
