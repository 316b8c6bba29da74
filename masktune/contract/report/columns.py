"""Columns of metadata that tell the class in the training images, as the import's check judged them."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.report.base import Section


class ColumnShortcut(Section):
    """A column that predicts the class, and whether any image could show which of the two a model learned."""

    column: str = Field(description="Without `meta:`.")
    sentence: str = Field(description="The finding, as the import words it.")
    separating: int = Field(
        description="Training images whose cell is more often that of another class: with none, nothing that "
        "is trained on them can tell class and column apart."
    )
    is_grouping: bool = Field(description="Whether the groups of the data set are class × this column.")
