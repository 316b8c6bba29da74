"""What to do next where the data, not the models, stand in the way."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.report.base import Section


class CutSplits(Section):
    """Cut splits that divide no subject: `subjects` of the test split, or of another that judges, are in
    `train` or `val` too."""

    step: Literal["cut_splits"]
    split: str
    subjects: int


class SeparateColumns(Section):
    """Bring training images, `per_class` of each class, whose values in these columns other classes have too:
    in the present ones, each value goes with one class."""

    step: Literal["separate_columns"]
    columns: list[str]
    per_class: int


class MeasureByColumn(Section):
    """Make the groups class × column, so that the worst of them decides the verdict."""

    step: Literal["measure_by_column"]
    column: str
    is_number: bool = Field(False, description="Groups need text: the numbers must be made bands first.")


class BalanceOverColumn(Section):
    """Balance the last layer over the groups class × column; `grouped` if the data set has them already."""

    step: Literal["balance_over_column"]
    column: str
    grouped: bool


class HoldOutValue(Section):
    """Make the test split of the images with this value of the column, which no model will have seen."""

    step: Literal["hold_out_value"]
    column: str
    value: str


DataStep = CutSplits | SeparateColumns | MeasureByColumn | BalanceOverColumn | HoldOutValue
