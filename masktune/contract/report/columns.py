"""Columns of metadata that tell the class in the training images, as the import's check judged them."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.report.accuracy import Verdict
from masktune.contract.report.base import Section
from masktune.contract.report.shortcut import Strength
from masktune.contract.vocabulary import Arm


class ColumnShortcut(Section):
    """A column that predicts the class, and whether any image could show which of the two a model learned."""

    column: str = Field(description="Without `meta:`.")
    sentence: str = Field(description="The finding, as the import words it.")
    separating: int = Field(
        description="Training images whose cell is more often that of another class: with none, nothing that "
        "is trained on them can tell class and column apart."
    )
    is_grouping: bool = Field(description="Whether the groups of the data set are class × this column.")
    strength: Strength | None = Field(None, description="How well it predicts; null in older reports.")
    verdicts: dict[Arm, Verdict] = Field(
        {},
        description="On each model that was made against a shortcut, by the groups class × this column: "
        "none unless it is a column of text, rated strong, whose groups can decide on the test split and are "
        "not those of the data set.",
    )
