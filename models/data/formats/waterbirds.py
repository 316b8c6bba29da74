"""Waterbirds as published: `metadata.csv` with `img_id,img_filename,y,split,place,place_filename`.

Splits are 0 train, 1 val, 2 test. A group is class × place (Sagawa et al. 2020, section 3).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from models.data.formats.lists.list_reader import resolve
from models.data.formats.lists.rows import separated_text
from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    natural_order,
)
from models.data.report import ColumnReading, FileCode, ProblemCode, Rejection
from models.data.splits import SPLITS

_LIST = "metadata.csv"
_COLUMNS = ("img_filename", "y", "split", "place")
_READINGS: Mapping[str, ColumnReading] = {
    "img_filename": ColumnReading("img_filename", "path"),
    "y": ColumnReading("y", "label"),
    "split": ColumnReading("split", "split"),
    "place": ColumnReading("place", "group", "with the class"),
}
_NOT_READ = "is no column of Waterbirds: a table of the format csv may have a subject and columns meta:NAME"
_SPLITS: Mapping[str, str] = {"0": "train", "1": "val", "2": "test"}
_BIRDS: Mapping[str, str] = {"0": "landbird", "1": "waterbird"}


class _Row(NamedTuple):
    """A good row of the list, as text."""

    path: str
    y: str
    split: str
    place: str


def matches(listing: Listing) -> bool:
    """The list with the columns that are used."""
    return _LIST in listing.top_files and set(_header(listing)) >= set(_COLUMNS)


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """Every row is an image; groups are named `class · place N`."""
    if not matches(listing):
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"there is no {_LIST} with the columns {', '.join(sorted(_COLUMNS))}: add it",
        )
    rejected = list(listing.rejected)
    rows = list(_rows(listing, rejected))
    labels = natural_order(row.y for row in rows)
    classes = options.classes or _class_names(rows, labels)
    places = natural_order(row.place for row in rows)
    entries: list[Entry] = []
    for row in rows:
        label = labels.index(row.y)
        if label >= len(classes):
            detail = f"y is {row.y}, which is not in the class list: correct one of the two"
            rejected.append(Rejection(row.path, FileCode.UNKNOWN_LABEL, detail))
            continue
        entries.append(Entry(row.path, label, row.split, label * len(places) + places.index(row.place)))
    splits = {row.split for row in rows}
    return Manifest(
        root=listing.root,
        format=DatasetFormat.WATERBIRDS,
        entries=tuple(entries),
        classes=classes,
        group_names=tuple(f"{name} · place {place}" for name in classes for place in places),
        splits=tuple(split for split in SPLITS if split in splits),
        columns=tuple(
            _READINGS.get(column, ColumnReading(column, "ignored", _NOT_READ)) for column in _header(listing)
        ),
        rejected=tuple(rejected),
        ignored=listing.ignored
        + listing.unlisted([_LIST, *(r.path for r in rows), *(r.path for r in rejected)]),
    )


def _header(listing: Listing) -> list[str]:
    return [column.lower() for column in separated_text(listing.root / _LIST).header]


def _rows(listing: Listing, rejected: list[Rejection]) -> Iterator[_Row]:
    paths: set[str] = set()
    header = _header(listing)
    places = [header.index(column) for column in _COLUMNS]
    for line in separated_text(listing.root / _LIST).lines():
        name, y, split, place = (line.cells[column] or "" for column in places)
        path = resolve(name)
        if path is None:
            code, detail = (
                FileCode.BAD_PATH,
                "has no path inside the data set: give it relative to the list",
            )
        elif path not in listing.known:
            code, detail = FileCode.MISSING_FILE, "names a file that is missing: upload it, or remove the row"
        elif path in paths:
            code, detail = FileCode.LISTED_TWICE, "names the file a second time: remove one of the rows"
        elif not y.isdecimal() or not place.isdecimal() or split not in _SPLITS:
            code, detail = (
                FileCode.BAD_ROW,
                "needs numbers for y and place, and 0, 1 or 2 for split: correct it",
            )
        else:
            paths.add(path)
            yield _Row(path, y, _SPLITS[split], place)
            continue
        rejected.append(Rejection(name or _LIST, code, f"line {line.number} of {_LIST} {detail}"))


def _class_names(rows: Iterable[_Row], labels: tuple[str, ...]) -> tuple[str, ...]:
    """The folder of each class where it has one of its own, else the two of Waterbirds, else numbers."""
    folders: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        folders[row.y].add(str(PurePosixPath(row.path).parent))
    own = [next(iter(folders[label])) for label in labels if len(folders[label]) == 1]
    if len(set(own)) == len(labels) and "." not in own:
        return tuple(re.sub(r"^[0-9]+[._-]", "", PurePosixPath(folder).name) for folder in own)
    if set(labels) <= _BIRDS.keys():
        return tuple(_BIRDS[label] for label in labels)
    return tuple(f"class {label}" for label in labels)
