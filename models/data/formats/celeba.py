"""CelebA: a table of ±1 attributes, the official partition, and `img_align_celeba`.

Both the original text files and the CSV files of the Kaggle mirror are read. One attribute is
the target, another the group; a group is class × attribute.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
    open_list,
)
from models.data.report import ColumnReading, FileCode, ProblemCode, Rejection
from models.data.splits import SPLITS

_ATTRIBUTES = ("list_attr_celeba.csv", "list_attr_celeba.txt")
_PARTITION = ("list_eval_partition.csv", "list_eval_partition.txt")
_SPLITS: Mapping[str, str] = {"0": "train", "1": "val", "2": "test"}
_GROUP = "Male"  # the attribute of the papers on group robustness
_VALUES: Mapping[str, int] = {"1": 1, "-1": 0, "0": 0}


def matches(listing: Listing) -> bool:
    """The table of attributes, at the top or one folder down (`Anno/`)."""
    return _find(listing, _ATTRIBUTES) is not None


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """A row of the attribute table is an image; without a partition all splits are made."""
    table = _find(listing, _ATTRIBUTES)
    if table is None:
        raise FormatError(ProblemCode.BAD_LIST, f"there is no {' or '.join(_ATTRIBUTES)}: add it")
    header, rows = _split_header(_cells(listing.root / table), table)
    if options.classes is not None and len(options.classes) != 2:
        raise FormatError(ProblemCode.BAD_LIST, "a CelebA attribute has two classes: name two, or none")
    target, group = (_attribute(name, header) for name in (options.target, options.group or _GROUP))
    partition = _partition(listing)
    files = {PurePosixPath(path).name: path for path in listing.files if is_image_name(path)}
    rejected = list(listing.rejected)
    entries: list[Entry] = []
    for cells in rows:
        name = cells[0]
        if len(cells) != len(header) + 1 or not {cells[target + 1], cells[group + 1]} <= _VALUES.keys():
            rejected.append(
                Rejection(name, FileCode.BAD_ROW, f"its row in {table} is not a list of ±1: correct it")
            )
        elif name not in files:
            detail = f"{table} names it, but the file is missing: upload it, or remove the row"
            rejected.append(Rejection(name, FileCode.MISSING_FILE, detail))
        elif partition is not None and partition.get(name) not in _SPLITS:
            detail = "has no partition 0, 1 or 2 although other images have one: add it"
            rejected.append(Rejection(files[name], FileCode.MISSING_SPLIT, detail))
        else:
            label = _VALUES[cells[target + 1]]
            split = None if partition is None else _SPLITS[partition[name]]
            entries.append(Entry(files.pop(name), label, split, label * 2 + _VALUES[cells[group + 1]]))
    columns = (_reading(name, target=header[target], group=header[group]) for name in header)
    return replace(_manifest(listing, options, entries, rejected), columns=tuple(columns))


def _manifest(
    listing: Listing, options: FormatOptions, entries: list[Entry], rejected: list[Rejection]
) -> Manifest:
    classes = options.classes or _named(options.target)
    splits = {entry.split for entry in entries}
    named = [*(e.path for e in entries), *(r.path for r in rejected)]
    ignored = listing.unlisted([path for path in listing.files if not is_image_name(path)] + named)
    return Manifest(
        root=listing.root,
        format=DatasetFormat.CELEBA,
        entries=tuple(entries),
        classes=classes,
        group_names=tuple(
            f"{name} · {state}" for name in classes for state in _named(options.group or _GROUP)
        ),
        splits=tuple(split for split in SPLITS if split in splits),
        rejected=tuple(rejected),
        ignored=listing.ignored + ignored,
    )


def _reading(attribute: str, *, target: str, group: str) -> ColumnReading:
    if attribute == target:
        return ColumnReading(attribute, "label")
    if attribute == group:
        return ColumnReading(attribute, "group", "with the class")
    return ColumnReading(attribute, "ignored", "is another attribute: name it as target or group to use it")


def _named(attribute: str) -> tuple[str, str]:
    return f"no {attribute}", attribute


def _find(listing: Listing, names: tuple[str, ...]) -> str | None:
    near = (path for path in listing.files if path.count("/") <= 1)
    return next((path for path in near if PurePosixPath(path).name in names), None)


def _cells(path: Path) -> Iterator[list[str]]:
    """The rows of a table, split at commas in a CSV, else at white space."""
    separator = "," if path.suffix == ".csv" else None
    try:
        with open_list(path) as file:
            for line in file:
                if line.strip():
                    yield [cell.strip() for cell in line.strip().split(separator)]
    except UnicodeDecodeError as error:
        raise FormatError(ProblemCode.BAD_LIST, f"{path.name} is not UTF-8: export it again") from error


def _split_header(rows: Iterator[list[str]], table: str) -> tuple[list[str], Iterator[list[str]]]:
    """The names of the attributes. The text file starts with the number of rows, the CSV with `image_id`."""
    header = next(rows, [])
    if len(header) == 1 and header[0].isdecimal():
        header = next(rows, [])
    header = header[1:] if header[:1] == ["image_id"] else header
    if not header:
        raise FormatError(ProblemCode.BAD_LIST, f"{table} has no header: export it again")
    return header, rows


def _attribute(name: str, header: list[str]) -> int:
    if name in header:
        return header.index(name)
    near = difflib.get_close_matches(name, header) or header[:40]
    raise FormatError(
        ProblemCode.UNKNOWN_ATTRIBUTE, f"there is no attribute {name!r}: use one like {', '.join(near)}"
    )


def _partition(listing: Listing) -> dict[str, str] | None:
    table = _find(listing, _PARTITION)
    if table is None:
        return None
    rows: Iterable[list[str]] = _cells(listing.root / table)
    return {cells[0]: cells[1] for cells in rows if len(cells) == 2}
