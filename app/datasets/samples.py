"""Samples of a data set, read from its packed store, with what a job has inferred of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.datasets.inferred import InferredSamples, PatternFilters
from app.datasets.stores import Stores
from app.http.lists import decode_number, encode_number
from core.errors import DatasetNotReady, InvalidInput, NotFound
from core.tables import DatasetRow
from masktune.contract.base import Page
from masktune.contract.samples import Sample
from masktune.contract.vocabulary import DatasetState
from models.data.download import table as csv_table
from models.data.images.image_types import MEDIA_TYPES, image_type, needs_png
from models.data.store import Store


def open_store(stores: Stores, row: DatasetRow) -> Store:
    """Return the data set's store, or raise `DatasetNotReady`."""
    if row.state is not DatasetState.READY or row.artifact is None:
        raise DatasetNotReady(
            f"data set {row.id} is {row.state.value}; its samples can be read once it is ready"
        )
    return stores.open(row.artifact)


@dataclass(frozen=True)
class SampleFilters:
    """Which samples are listed; all that is given must hold. `metadata` are cells by column."""

    split: str | None = None
    label: str | None = None
    group: str | None = None
    subject: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    q: str | None = None
    patterns: PatternFilters = field(default_factory=PatternFilters)


def listing(
    store: Store,
    filters: SampleFilters,
    *,
    cursor: str | None,
    limit: int,
    inferred: InferredSamples | None = None,
) -> Page[Sample]:
    """Return a page of the samples that pass the filters, by number, after the cursor."""
    rows = _rows(store, filters, inferred)
    behind = decode_number(cursor)
    first = 0 if behind is None else int(np.searchsorted(rows, behind, side="right"))
    selected = rows[first : first + limit]
    more = first + len(selected) < len(rows)
    return Page(
        data=[describe(store, int(row), inferred) for row in selected],
        next_cursor=encode_number(int(selected[-1])) if more else None,
    )


def table(store: Store, filters: SampleFilters, inferred: InferredSamples | None) -> Iterator[bytes]:
    """Return all samples that pass the filters as a CSV file, some at a time."""
    rows = _rows(store, filters, inferred)
    added: dict[str, list[object]] = {"sample": rows.tolist()}
    if inferred is not None:
        added |= inferred.columns(store, rows)
    return csv_table(store, rows, added=added)


def _rows(store: Store, filters: SampleFilters, inferred: InferredSamples | None) -> NDArray[np.int64]:
    """Return the ascending rows that pass the filters."""
    rows = store.rows(
        split=filters.split,
        label=_index(store.classes, filters.label, "label", "class"),
        group=_index(store.group_names, filters.group, "group", "group"),
    )
    subject = _index(store.subject_names, filters.subject, "subject", "subject")
    if subject is not None:
        rows = rows[store.subjects[rows] == subject]
    for name, cell in filters.metadata.items():
        rows = rows[_has_cell(store, name, cell)[rows]]
    if any(choice is not None for choice in filters.patterns):
        rows = rows[_has_pattern(store, filters.patterns, inferred)[rows]]
    return rows[store.containing(filters.q)[rows]] if filters.q else rows


def _has_cell(store: Store, name: str, cell: str) -> NDArray[np.bool_]:
    """Return (N,), true where the column `meta:NAME` has this cell."""
    pointer = f"?metadata.{name}"
    if name not in store.metadata:
        some = ", ".join(store.metadata) or "none"
        raise InvalidInput.field(pointer, "unknown", f"the data set has no column {name!r}; it has: {some}")
    try:
        return store.metadata[name].equal_to(cell)
    except ValueError as error:
        raise InvalidInput.field(
            pointer,
            "not-a-number",
            f"the column {name!r} holds numbers: give one, or nothing for samples without",
        ) from error


def _has_pattern(
    store: Store, filters: PatternFilters, inferred: InferredSamples | None
) -> NDArray[np.bool_]:
    """Return (N,), true where what a job has inferred passes the filters, of which there is one at least."""
    if inferred is None:
        unusable = next(name for name, choice in filters._asdict().items() if choice is not None)
        raise InvalidInput.field(
            f"?{unusable}", "needs-inferred-by", "name the job that has inferred it as inferred_by"
        )
    keep = np.ones(len(store), bool)
    if filters.pattern is not None:
        keep &= inferred.patterns == _index(store.classes, filters.pattern, "pattern", "class")
    if filters.lacks_pattern is not None:
        keep &= inferred.lacking(store.labels, lacks=filters.lacks_pattern)
    if filters.label_looks_wrong is not None:
        keep &= inferred.labels_look_wrong == filters.label_looks_wrong
    return keep


def describe(store: Store, number: int, inferred: InferredSamples | None = None) -> Sample:
    """Describe one sample, or raise `NotFound`."""
    try:
        sample = store.sample(number)
    except IndexError as error:
        raise NotFound(str(error)) from error
    return Sample(
        id=sample.row,
        path=sample.path,
        label=store.classes[sample.label] if store.labelled else None,
        split=sample.split or None,
        group=None if sample.group is None else store.group_names[sample.group],
        subject=sample.subject,
        metadata=dict(sample.metadata),
        width=sample.width,
        height=sample.height,
        sha256=sample.sha256,
        needs_png=needs_png(store.image_head(number)),
        inferred=None if inferred is None else inferred.describe(store, number),
    )


def image(store: Store, number: int) -> tuple[bytes, str]:
    """Return the file as uploaded and the media type of its content, or raise `NotFound`."""
    try:
        content = store.image_bytes(number)
    except IndexError as error:
        raise NotFound(str(error)) from error
    return content, media_type(content)


def media_type(content: bytes) -> str:
    """Return the media type by the first bytes, never by a file name; `application/octet-stream` for all
    that is not an image."""
    return MEDIA_TYPES.get(image_type(content) or "", "application/octet-stream")


def _index(names: tuple[str, ...], name: str | None, parameter: str, what: str) -> int | None:
    if name is None:
        return None
    if name not in names:
        some = ", ".join(names[:10]) or "none"
        raise InvalidInput.field(
            f"?{parameter}", "unknown", f"the data set has no {what} {name!r}; it has: {some}"
        )
    return names.index(name)
