"""What to do where the data, not the models, stand in the way: steps around those that choose a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from masktune.contract.datasets import MAX_CONDITION
from masktune.contract.report.columns import ColumnShortcut
from masktune.contract.report.data_steps import (
    BalanceOverColumn,
    CutSplits,
    DataStep,
    HoldOutValue,
    MeasureByColumn,
    SeparateColumns,
)
from masktune.contract.report.groups import BalancedGroups
from masktune.contract.report.recommendation import Recommendation
from models.data.formats.metadata_groups import MAX_VALUES
from models.data.store import Store
from models.mitigation.mistakes import MIN_FLAGGED
from worker.report.columns import value_to_hold_out
from worker.report.recommendation import TRAIN_IMAGES
from worker.report.subjects import shared_subjects

_JUDGES = ("test", "calibration", "val")
"""Splits that judge, the one that matters most first."""


def with_data_steps(
    recommendation: Recommendation,
    columns: Sequence[ColumnShortcut],
    groups: BalancedGroups | None,
    *,
    store: Store,
) -> Recommendation:
    """The recommendation, with what spoils its figures before its choice and what a column allows after."""
    first = [*_cut_splits(store), *_separate(columns)]
    choice, *others = recommendation.next
    allowed = [*_by_column(columns, groups, store)]
    return recommendation.model_copy(update={"next": [*first, choice, *allowed, *others]})


def _cut_splits(store: Store) -> Iterator[DataStep]:
    shared = shared_subjects(store)
    for split in _JUDGES:
        if split in shared:
            yield CutSplits(step="cut_splits", split=split, subjects=max(shared[split].values()))
            return


def _separate(columns: Sequence[ColumnShortcut]) -> Iterator[DataStep]:
    if names := [column.column for column in columns if not column.separating]:
        yield SeparateColumns(step="separate_columns", columns=names, per_class=TRAIN_IMAGES)


def _by_column(
    columns: Sequence[ColumnShortcut], groups: BalancedGroups | None, store: Store
) -> Iterator[DataStep]:
    """What the strongest column allows that training images separate from the class."""
    shortcut = next((column for column in columns if column.separating), None)
    if shortcut is None:
        return
    name, column = shortcut.column, store.metadata[shortcut.column]
    is_number = column.kind == "number"
    if len(column.texts) > MAX_VALUES:
        return
    if not shortcut.is_grouping:
        yield MeasureByColumn(step="measure_by_column", column=name, is_number=is_number)
    balanced = shortcut.is_grouping and groups is not None and groups.source == "labels"
    if not is_number and not balanced and shortcut.separating >= MIN_FLAGGED:
        yield BalanceOverColumn(step="balance_over_column", column=name, grouped=shortcut.is_grouping)
    value = value_to_hold_out(store, column)
    if value is None or "=" in name or len(f"meta:{name}={value}") > MAX_CONDITION:
        return
    is_held_out = any(
        condition.startswith(f"meta:{name}=") for condition in store.info.split_record.get("hold_out", ())
    )
    if not is_held_out:
        yield HoldOutValue(step="hold_out_value", column=name, value=value)
