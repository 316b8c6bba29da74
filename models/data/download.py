"""A data set as a zip that can be uploaded again and is then the same one: `Store.digest` is equal.

It holds each image under its path in the store, with its bytes there; `labels.csv` (RFC 4180) with a row for
each, in row order; `classes.txt`, which fixes the order of the classes, if there are any; and
`grey_window.txt`, if the set has a window for 16-bit images, which may have been chosen or come from headers
that are gone. The labels of an unlabelled set are empty cells: filled in, they make a labelled one. Cells are
written as they are, also those that a spreadsheet would take for a formula: nothing else could be read back.
This module does not import torch.
"""

from __future__ import annotations

import csv
import io
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.data.archives.stored_zip import Entry, stored_zip
from models.data.formats.lists.side_files import CLASSES_FILE, WINDOW_FILE
from models.data.splits import SPLIT_NAMES
from models.data.store import Store

LABELS_FILE = "labels.csv"
_ROWS = 10_000  # of the table, in memory at a time
_NOT_AT_THE_TOP = r"^(labels\.csv|classes\.txt|grey_window\.txt)(/|$)|^[^/]*:|^\s"
"""Paths that would hide one of the files, or that a table cannot name: it strips white space and takes a
colon for the mark of an address or a drive."""


def download(store: Store) -> Iterator[bytes]:
    """The zip in blocks, in constant memory. Images come first, so that it starts at once."""
    return stored_zip(_entries(store))


def write_folder(store: Store, folder: Path, check: Callable[[], None]) -> None:
    """Write what the zip holds below `folder`. `check` is called before each file; it may raise to end it."""
    for entry in _entries(store):
        check()
        path = folder / entry.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(entry.content())


def add_images(folder: Path, added: Path) -> None:
    """Add the images of `added`, which its table names, to a data set that `write_folder` wrote.
    Columns of the table that the data set lacks are left out."""
    with (folder / LABELS_FILE).open(encoding="utf-8", newline="") as table_file:
        header = next(csv.reader(table_file))
    with (
        (added / LABELS_FILE).open(encoding="utf-8", newline="") as rows,
        (folder / LABELS_FILE).open("a", encoding="utf-8", newline="") as table_file,
    ):
        writer = csv.DictWriter(table_file, header, restval="", extrasaction="ignore")
        for row in csv.DictReader(rows):
            path = folder / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(added / row["path"], path)
            writer.writerow(row)


def _entries(store: Store) -> Iterator[Entry]:
    needs_folder = pc.any(pc.match_substring_regex(store.paths, _NOT_AT_THE_TOP, ignore_case=True)).as_py()
    below = "images/" if needs_folder else ""
    for path, encoded in store.files():
        yield Entry(below + path, len(encoded), zlib.crc32(encoded), partial(tuple, (encoded,)))
    if store.labelled:
        yield Entry.of(CLASSES_FILE, lambda: ["".join(f"{name}\n" for name in store.classes).encode()])
    if window := store.info.grey_window:
        yield Entry.of(WINDOW_FILE, lambda: [f"{window.low} {window.high}\n".encode()])
    yield Entry.of(LABELS_FILE, partial(table, store, below=below))


def table(
    store: Store,
    rows: NDArray[np.int64] | None = None,
    *,
    below: str = "",
    added: Mapping[str, Sequence[object]] | None = None,
) -> Iterator[bytes]:
    """The table of these rows, by default of all, some at a time.
    `added`: further columns of as many cells by name; None is an empty one."""
    rows, added = np.arange(len(store)) if rows is None else rows, added or {}
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    header = ["path", "label", "split"]
    header += ["group"] * store.has_groups + ["subject"] * store.has_subjects
    writer.writerow([*header, *(f"meta:{name}" for name in store.metadata), *added])
    for start in range(0, max(len(rows), 1), _ROWS):
        part = slice(start, start + _ROWS)
        columns = [*_columns(store, rows[part], below), *(cells[part] for cells in added.values())]
        writer.writerows(zip(*columns, strict=True))
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()


def _columns(store: Store, rows: NDArray[np.int64], below: str) -> Iterator[Sequence[object]]:
    """The cells of these rows, by column."""
    yield [below + path for path in store.paths.take(rows).to_pylist()]
    yield _names_of(store.classes, store.labels[rows])
    yield _names_of(SPLIT_NAMES, store.splits[rows])
    if store.has_groups:
        yield _names_of(store.group_names, store.groups[rows])
    if store.has_subjects:
        yield _names_of(store.subject_names, store.subjects[rows])
    for column in store.metadata.values():
        yield column.cells(rows)


def _names_of(names: Sequence[str], codes: NDArray[np.int64]) -> list[str]:
    return [names[code] if code >= 0 else "" for code in codes.tolist()]
