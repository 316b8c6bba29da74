"""One CSV with the columns `path,label[,split][,group]`, beside or above the images it names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from models.data.archives.guards import FORBIDDEN
from models.data.formats.listing import Listing, open_list
from models.data.formats.manifest import (
    Entry,
    FormatError,
    FormatName,
    FormatOptions,
    Manifest,
    natural_order,
)
from models.data.report import FileCode, ProblemCode, Rejection
from models.data.splits import SPLITS, canonical_split

_REQUIRED = frozenset(("path", "label"))


class Line(NamedTuple):
    """A row of a list: its line number, and its cells by column name (lower case, stripped)."""

    number: int
    cells: Mapping[str, str]

    def get(self, column: str) -> str:
        """The cell, empty where the row is too short or there is no such column."""
        return self.cells.get(column, "")


class _Row(NamedTuple):
    """A row that names a file of the data set; `split` and `group` may be empty."""

    path: str
    label: str
    split: str
    group: str


def columns(path: Path) -> tuple[str, ...]:
    """The header of a CSV, lower case and stripped; empty for a file that is none."""
    try:
        with open_list(
            path, errors="replace"
        ) as file:  # so that a list in Latin-1 is found, and named as bad
            return tuple(name.strip().lower() for name in next(csv.reader(file), []))
    except csv.Error:
        return ()


def lines(path: Path) -> Iterator[Line]:
    """The rows of a CSV with a header. Raises `FormatError` where it is no UTF-8 CSV."""
    header = columns(path)
    try:
        with open_list(path) as file:
            reader = csv.reader(file)
            next(reader, None)
            for row in reader:
                if any(row):
                    yield Line(
                        reader.line_num, dict(zip(header, (cell.strip() for cell in row), strict=False))
                    )
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is not CSV in UTF-8: export it again ({error})"
        ) from error


def matches(listing: Listing) -> bool:
    """A CSV at the top with the two columns that are needed."""
    return bool(_candidates(listing))


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """A row is an image; files that no row names are ignored."""
    name = _the_list(listing)
    rejected = list(listing.rejected)
    rows = list(_rows(listing, name, rejected))
    if any(row.split for row in rows):
        rows = [row for row in rows if _has_split(row, rejected)]
    classes = options.classes or natural_order(row.label for row in rows)
    label_of = {label: index for index, label in enumerate(classes)}
    groups = natural_order(row.group for row in rows if row.group)
    group_of = {group: index for index, group in enumerate(groups)}
    entries: list[Entry] = []
    for row in rows:
        if row.label not in label_of:
            detail = f"{row.label!r} is not in the class list: correct one of the two"
            rejected.append(Rejection(row.path, FileCode.UNKNOWN_LABEL, detail))
            continue
        split = canonical_split(row.split) if row.split else None
        entries.append(Entry(row.path, label_of[row.label], split, group_of.get(row.group, -1)))
    splits = {canonical_split(row.split) for row in rows if row.split}
    return Manifest(
        root=listing.root,
        format=FormatName.CSV,
        entries=tuple(entries),
        classes=classes,
        group_names=groups,
        splits=tuple(split for split in SPLITS if split in splits),
        rejected=tuple(rejected),
        ignored=listing.ignored
        + listing.unlisted([name, *(r.path for r in rows), *(r.path for r in rejected)]),
    )


def resolve(path: str, base: str = "") -> str | None:
    """A path of a list relative to the root, None for one that is empty, absolute or climbs out."""
    cleaned = path.replace("\\", "/").removeprefix("./")
    pure = PurePosixPath(cleaned)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in cleaned or ":" in pure.parts[0]:
        return None
    return str(PurePosixPath(base) / pure)


def _candidates(listing: Listing) -> list[str]:
    lists = [file for file in listing.top_files if file.lower().endswith(".csv")]
    return [file for file in lists if set(columns(listing.root / file)) >= _REQUIRED]


def _the_list(listing: Listing) -> str:
    candidates = _candidates(listing)
    if not candidates:
        raise FormatError(
            ProblemCode.BAD_LIST, "there is no CSV with the columns path and label at the top level: add one"
        )
    if len(candidates) > 1:
        raise FormatError(ProblemCode.AMBIGUOUS_LIST, f"{', '.join(candidates)} could be the list: keep one")
    return candidates[0]


def _rows(listing: Listing, name: str, rejected: list[Rejection]) -> Iterator[_Row]:
    paths: set[str] = set()
    for line in lines(listing.root / name):
        path = resolve(line.get("path"))
        name_or_list = line.get("path") or name
        if path is None:
            code, detail = FileCode.BAD_PATH, "has no path inside the data set: give it relative to the CSV"
        elif path not in listing.known:
            code, detail = FileCode.MISSING_FILE, "names a file that is missing: upload it, or remove the row"
        elif path in paths:
            code, detail = FileCode.LISTED_TWICE, "names the file a second time: remove one of the rows"
        elif not line.get("label"):
            code, detail = FileCode.MISSING_LABEL, "has no label: fill it in, or remove the row"
        elif FORBIDDEN.search(line.get("label") + line.get("group")):
            code, detail = FileCode.BAD_ROW, "has control characters in its label or group: remove them"
        else:
            paths.add(path)
            yield _Row(path, line.get("label"), line.get("split"), line.get("group"))
            continue
        rejected.append(Rejection(name_or_list, code, f"line {line.number} of {name} {detail}"))


def _has_split(row: _Row, rejected: list[Rejection]) -> bool:
    if not row.split:
        detail = "has no split although other rows have one: fill it in, or leave out the whole column"
        rejected.append(Rejection(row.path, FileCode.MISSING_SPLIT, detail))
        return False
    if canonical_split(row.split) is None:
        detail = f"has the split {row.split!r}: use one of {', '.join(SPLITS)}"
        rejected.append(Rejection(row.path, FileCode.UNKNOWN_SPLIT, detail))
        return False
    return True
