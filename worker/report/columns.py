"""Columns of metadata that tell the class: do training images separate the two, what could be held out?

And what to do where the data, not the models, stand in the way: steps around those that choose a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

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
from masktune.contract.report.shortcut import MetadataCheck
from models.data.columns import MetadataColumn
from models.data.formats.owner_options import MAX_VALUES
from models.data.store import Store
from models.evaluation.verdict import decisive_groups, smallest_decisive
from models.mitigation.mistakes import MIN_FLAGGED
from models.types import Labels
from worker.report.arms import clusters_of
from worker.report.metrics import VERDICT_SPLIT, Figures
from worker.report.recommendation import TRAIN_IMAGES
from worker.report.subjects import shared_subjects

LEAST_HELD_OUT = 10
"""Images of each of two classes that a value must have for a test on it to say anything."""
_JUDGES = ("test", "calibration", "val")
"""Splits that judge, the one that matters most first."""


def deciding_columns(store: Store, check: MetadataCheck | None) -> dict[str, Store]:
    """The data set with the groups of class × a column in place of its own, by column: those of text that the
    import's check rated strong, whose groups can decide and are not the data set's."""
    strong = [
        store.metadata.get(one.property)
        for one in (() if check is None else check.findings)
        if one.strength == "strong"
    ]
    return {
        column.name: store.with_groups(
            tuple(f"{label} · {column.name} {text}" for text in column.texts for label in store.classes),
            groups,
        )
        for column in strong
        if column is not None
        and not is_grouping(store, column)
        and (groups := column_groups(store, column)) is not None
    }


def column_groups(store: Store, column: MetadataColumn) -> Labels | None:
    """(N,), the number of each sample's class × value, −1 for an empty cell or a number; None unless these
    groups can decide on the test split, and those that do are of two values, one with two classes."""
    cells = np.where(column.codes < 0, -1, column.codes * len(store.classes) + store.labels)
    distinct = (rows := store.rows(VERDICT_SPLIT))[store.firsts(rows)]
    of_test = cells[distinct], clusters_of(store, distinct)
    values = decisive_groups(*of_test, ()) // len(store.classes)
    divides = 2 <= len(np.unique(values)) < len(values)
    return cells if divides and smallest_decisive(*of_test) is not None else None


def column_shortcuts(store: Store, check: MetadataCheck | None, figures: Figures) -> list[ColumnShortcut]:
    """The columns that the import's check found to predict the class, strongest first, with the verdicts by
    those that can decide."""
    findings = () if check is None else check.findings
    train = store.rows("train")
    return [
        ColumnShortcut(
            column=finding.property,
            sentence=finding.sentence,
            separating=separating(store.metadata[finding.property], store.labels, train),
            is_grouping=is_grouping(store, store.metadata[finding.property]),
            strength=finding.strength,
            verdicts=figures.by_column.get(finding.property, {}),
        )
        for finding in findings
        if finding.strength != "none" and finding.property in store.metadata
    ]


def separating(column: MetadataColumn, labels: Labels, rows: Labels) -> int:
    """How many of these rows have a text that is more often another class's, an empty cell being one too; of
    numbers, how many lie between two numbers of another class."""
    known, codes = labels[rows], column.codes[rows] + 1
    if column.kind == "text":
        return _outnumbered(codes, known)
    numbers = column.numbers[rows]
    stated = ~np.isnan(numbers)
    between = np.zeros(len(rows), bool)
    for label in np.unique(known[stated]):
        own = numbers[stated & (known == label)]
        between |= (known != label) & (numbers >= own.min()) & (numbers <= own.max())
    return int(between.sum()) + _outnumbered(codes[~stated], known[~stated])


def _outnumbered(values: Labels, labels: Labels) -> int:
    """How many are not of the most frequent class of their value."""
    counts = _counts(values, labels)
    return int((counts.sum(1) - counts.max(1)).sum())


def is_grouping(store: Store, column: MetadataColumn) -> bool:
    """Whether the groups of the data set are class × this column of text."""
    if column.kind != "text" or not store.has_groups:
        return False
    stated = column.codes >= 0
    if not np.array_equal(stated, store.groups >= 0):
        return False
    pairs = np.stack([store.labels, column.codes])[:, stated]
    both = np.concatenate([pairs, store.groups[None, stated]])
    sizes = {np.unique(rows, axis=1).shape[1] for rows in (both, pairs, both[2:])}
    return len(sizes) == 1  # each pair is one group, and each group one pair


def value_to_hold_out(store: Store, column: MetadataColumn) -> str | None:
    """The value of a column of text whose images tell most of a model that has not seen it: that whose second
    most frequent class has most images. None where no value has `LEAST_HELD_OUT` of two classes, or where
    nothing would be left to train a class on."""
    if column.kind != "text":
        return None
    stated = column.codes >= 0
    counts = _counts(column.codes[stated], store.labels[stated], len(column.texts), len(store.classes))
    second = np.sort(counts, axis=1)[:, -2]
    everything = np.bincount(store.labels, minlength=len(store.classes))
    for code in np.argsort(-second, kind="stable").tolist():
        if second[code] < LEAST_HELD_OUT:
            break
        if (everything - counts[code] >= LEAST_HELD_OUT).all():
            return column.texts[int(code)]
    return None


def _counts(values: Labels, labels: Labels, rows: int = 0, columns: int = 0) -> Labels:
    """(V, C): how often each value goes with each class."""
    shape = max(rows, int(values.max(initial=0)) + 1), max(columns, int(labels.max(initial=0)) + 1)
    table = np.zeros(shape, np.int64)
    np.add.at(table, (values, labels), 1)
    return table


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
