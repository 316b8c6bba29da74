"""From the lines of lists to a manifest: what their labels, splits, groups and metadata mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from models.data.formats.lists.headings import (
    METADATA,
    are_names,
    columns_of,
    how_to_keep,
    is_prefixed,
    position_of,
    reason_to_leave_out,
)
from models.data.formats.lists.list_reader import Conventions, ListOfImages, ListReader, Row
from models.data.formats.lists.rows import scalar_table, separated_text
from models.data.formats.lists.side_files import CLASSES_FILE, listed_classes, listed_window
from models.data.formats.manifest import Entry, FormatError, FormatOptions, Listing, Manifest, natural_order
from models.data.report import FileCode, ProblemCode, Rejection
from models.data.splits import ALL_SPLITS, SPLITS, WITHOUT_OBJECT, canonical_split

_PARQUET = b"PAR1"


def read_lists(
    listing: Listing, lists: Sequence[ListOfImages], options: FormatOptions, conventions: Conventions
) -> Manifest:
    """The manifest of one list, or of several in different folders. Raises `FormatError`."""
    reader = ListReader(listing, lists, options, conventions)
    rows = reader.rows()
    if not reader.has("label"):
        rows = _labelled_by_folders(reader, rows)
    rows = rows if options.new_splits else _with_splits(reader, rows)
    classes = options.classes or _classes(reader, {row.label for row in rows}, len(rows))
    label_of = {label: index for index, label in enumerate(classes)}
    rows = [row for row in rows if _is_known_class(reader, row, label_of)]
    group_names, groups = _groups(reader, rows)
    grey_window = listed_window(listing, reader.left_out)
    _leave_out_metadata(reader, rows)
    usable = [place for place, name in enumerate(reader.metadata_names) if name not in reader.unusable]
    splits = {_split(row.split) for row in rows}
    return Manifest(
        root=listing.root,
        format=conventions.format,
        entries=tuple(
            Entry(
                row.path,
                label_of[row.label],
                _split(row.split),
                group,
                row.subject or None,
                tuple(row.metadata[place] for place in usable),
            )
            for row, group in zip(rows, groups, strict=True)
        ),
        classes=classes,
        group_names=group_names,
        splits=tuple(split for split in ALL_SPLITS if split in splits),
        rejected=tuple(reader.rejected),
        ignored=reader.ignored([row.path for row in rows]),
        grey_window=grey_window,
        metadata_names=tuple(reader.metadata_names[place] for place in usable),
        columns=reader.readings(),
    )


def _labelled_by_folders(reader: ListReader, rows: list[Row]) -> list[Row]:
    """The rows with the classes and splits of folders `[split/]class`. Raises `FormatError`."""
    depth = 1 if rows and all(_split_folder(row.path) for row in rows) else 0
    labels = [parts[depth] if len(parts := row.path.split("/")) > depth + 1 else "" for row in rows]
    if len(set(labels) - {""}) < 2:
        table = reader.lists[0].list.table
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{table.name} has {columns_of(table.header)}, none of which has the classes: rename the one "
            "that does to label, or name it in options.label",
        )
    rows_with_labels = []
    for row, label in zip(rows, labels, strict=True):
        if label:
            split = row.split or _split_folder(row.path) or ""
            rows_with_labels.append(row._replace(label=label, split=split))
        else:
            detail = "is not in a class folder: move it into the folder of its class, or list its label"
            reader.rejected.append(Rejection(row.path, FileCode.NO_CLASS, detail))
    return rows_with_labels


def _with_splits(reader: ListReader, rows: list[Row]) -> list[Row]:
    """The rows whose split is known, if any row has one."""
    if reader.has("split") and not any(_split(row.split) for row in rows) and not reader.has_column("split"):
        reader.unusable_uses["split"] = (
            f"has no name of a split ({', '.join(SPLITS)}): correct it, or rename it to {METADATA}NAME"
        )
        rows = [row._replace(split="") for row in rows]
    if reader.conventions.split_folders and not any(row.split for row in rows):
        rows = [row._replace(split=_split_folder(row.path) or "") for row in rows]
    return [row for row in rows if _has_split(reader, row)] if any(row.split for row in rows) else rows


def _has_split(reader: ListReader, row: Row) -> bool:
    if not row.split:
        detail = "has no split although other rows have one: fill it in, or leave out the whole column"
        reader.rejected.append(Rejection(row.path, FileCode.MISSING_SPLIT, detail))
        return False
    if _split(row.split) is None:
        detail = f"has the split {row.split!r}: use one of {', '.join(SPLITS)}"
        reader.rejected.append(Rejection(row.path, FileCode.UNKNOWN_SPLIT, detail))
        return False
    return True


def _classes(reader: ListReader, labels: set[str], count: int) -> tuple[str, ...]:
    """The classes of `count` rows in their order. Raises `FormatError` if they cannot be classes."""
    orders = (reader.conventions.names.get(each.label or "", ()) for each in reader.lists)
    order = next((order for order in orders if labels <= set(order)), None)
    order = order or listed_classes(reader.listing, labels, reader.left_out)
    if order is not None:
        return tuple(dict.fromkeys(name for name in order if name in labels))
    if are_names(len(labels), count):
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"there are {len(labels)} different labels in {count} rows, too many to be classes: name the "
            f"column that has the classes in options.label, or list the classes in {CLASSES_FILE}",
        )
    return natural_order(labels)


def _is_known_class(reader: ListReader, row: Row, label_of: Mapping[str, int]) -> bool:
    """Whether the label is in the class list; if not, the file is rejected."""
    if row.label not in label_of:
        detail = f"{row.label!r} is not in the class list: correct one of the two"
        reader.rejected.append(Rejection(row.path, FileCode.UNKNOWN_LABEL, detail))
    return row.label in label_of


def _groups(reader: ListReader, rows: list[Row]) -> tuple[tuple[str, ...], list[int]]:
    """The names of the groups in the column `group`, and the group of each row, -1 for none."""
    texts = [row.group for row in rows]
    names = natural_order(filter(None, texts))
    if are_names(len(names), len(rows)):
        reader.unusable_uses["group"] = (
            f"has {len(names)} different texts in {len(rows)} rows, too many to be groups: rename it to "
            f"{METADATA}NAME, or to subject if it says which images belong together"
        )
        return (), [-1] * len(rows)
    number_of = {name: number for number, name in enumerate(names)}
    return names, [number_of.get(text, -1) for text in texts]


def _leave_out_metadata(reader: ListReader, rows: Sequence[Row]) -> None:
    """Leave out the columns that say nothing of groups of images, unless their prefix asks for them."""
    asked_for = {
        name
        for each in reader.lists
        for name, place in each.headings.metadata.items()
        if is_prefixed(each.list.table.header[place])
    }
    for place, name in enumerate(reader.metadata_names):
        if name not in asked_for | reader.unusable.keys():
            cells = [row.metadata[place] for row in rows]
            if reason := reason_to_leave_out(cells, how_to_keep(name)):
                reader.unusable[name] = reason


def _split(text: str) -> str | None:
    """The split that a cell means, or None."""
    return text if text in WITHOUT_OBJECT else canonical_split(text)


def _split_folder(path: str) -> str | None:
    """The split that the top folder of a path is, or None."""
    return canonical_split(path.partition("/")[0]) if "/" in path else None


def read_paths(file: Path, column: str | None = None) -> list[str]:
    """The cells of the column `path`, or of another one, of a table in CSV or parquet whose images lie
    elsewhere, in order. Raises `FormatError`."""
    with file.open("rb") as opened:
        is_parquet = opened.read(len(_PARQUET)) == _PARQUET
    table = scalar_table(file) if is_parquet else separated_text(file)
    place = position_of(table.header, column or "path")
    if place is None:
        named = f"is called {column!r}" if column else "names the files: rename that to path"
        raise FormatError(
            ProblemCode.BAD_LIST, f"the table has {columns_of(table.header)}, none of which {named}"
        )
    return [line.cells[place] or "" for line in table.lines()]
