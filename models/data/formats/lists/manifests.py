"""From the lines of lists to a manifest: an image with its label, split, group, subject and metadata each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from models.data.archives.guards import FORBIDDEN, plain
from models.data.formats.listing import Listing, open_list
from models.data.formats.lists.headings import (
    MAX_TEXT,
    METADATA,
    Headings,
    columns_of,
    is_prefixed,
    read_headings,
)
from models.data.formats.lists.metadata_columns import are_names, how_to_keep, reason_to_leave_out
from models.data.formats.lists.rows import Line, Table
from models.data.formats.manifest import (
    Entry,
    FormatError,
    FormatName,
    FormatOptions,
    Manifest,
    natural_order,
)
from models.data.grey import GreyWindow, read_window
from models.data.report import ColumnReading, ColumnUse, FileCode, ProblemCode, Rejection
from models.data.splits import ALL_SPLITS, SPLITS, WITHOUT_OBJECT, canonical_split

CLASSES_FILE = "classes.txt"
"""At the top, beside a list: the classes in their order, one a line."""
WINDOW_FILE = "grey_window.txt"
"""The same for the window of 16-bit images: two levels, low and high, on one line."""
_MAX_LINES = 4_000_000
"""Of all lists: each may be a rejection with its text, and two bytes of a file are a line."""


@dataclass(frozen=True)
class ListOfImages:
    """A list at `path` of a listing; the paths in it are relative to the folder that it lies in."""

    path: str
    table: Table

    @property
    def folder(self) -> str:
        """Empty for the top."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True)
class Conventions:
    """What differs between the formats that have lists.

    `split_folders`: where no column has splits, the top folders are the splits. `path` and `label`: the
    columns of files and classes, where they are known. `names`: column → the text that each of its numbers
    stands for.
    """

    format: FormatName
    split_folders: bool = False
    path: str | None = None
    label: str | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


class _Row(NamedTuple):
    """A line that names a file of the data set. All but `path` may be empty."""

    path: str
    label: str
    split: str
    group: str
    subject: str
    metadata: tuple[str, ...]


def resolve(path: str, base: str = "") -> str | None:
    """A path of a list relative to the root, None for one that is empty, absolute or climbs out."""
    cleaned = path.replace("\\", "/").removeprefix("./")
    pure = PurePosixPath(cleaned)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or "\0" in cleaned or ":" in pure.parts[0]:
        return None
    return str(PurePosixPath(base) / pure)


def read_lists(
    listing: Listing, lists: Sequence[ListOfImages], options: FormatOptions, conventions: Conventions
) -> Manifest:
    """The manifest of one list, or of several in different folders. Raises `FormatError`."""
    reader = _Reader(listing, lists, options, conventions)
    rows = reader.rows()
    if not reader.has("label"):
        rows = reader.labelled_by_folders(rows)
    rows = rows if options.new_splits else reader.with_splits(rows)
    classes = options.classes or reader.classes({row.label for row in rows}, len(rows))
    label_of = {label: index for index, label in enumerate(classes)}
    rows = [row for row in rows if reader.is_known_class(row, label_of)]
    group_names, groups = reader.groups(rows)
    grey_window = reader.grey_window()
    reader.leave_out_metadata(rows)
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


class _ListReading(NamedTuple):
    """A list and what its columns serve as."""

    list: ListOfImages
    headings: Headings

    @property
    def label(self) -> str | None:
        """The column of the classes."""
        return None if self.headings.label is None else self.list.table.header[self.headings.label]


class _Reader:
    """One reading of lists. It collects the files that are rejected and the columns that cannot be used."""

    def __init__(
        self,
        listing: Listing,
        lists: Sequence[ListOfImages],
        options: FormatOptions,
        conventions: Conventions,
    ) -> None:
        self._listing = listing
        self._conventions = conventions
        self._lists = [_list_reading(each, options, conventions) for each in lists]
        self.metadata_names = tuple(
            dict.fromkeys(name for each in self._lists for name in each.headings.metadata)
        )
        self.rejected = list(listing.rejected)
        self.unusable: dict[str, str] = {}
        """Columns of metadata that are left out, and why."""
        self._unusable_uses: dict[ColumnUse, str] = {}
        """Other columns that are left out, and why."""
        self._lines: dict[str, Line] = {}
        self._count = 0
        self._ignored: list[Rejection] = []

    def has(self, use: ColumnUse) -> bool:
        """Whether one of the lists has such a column."""
        return any(getattr(each.headings, use) is not None for each in self._lists)

    def rows(self) -> list[_Row]:
        """The good lines. Raises `FormatError` if all of them name files that are missing."""
        before = len(self.rejected)
        rows = [row for each in self._lists for row in self._rows_of(each)]
        problems = self.rejected[before:]
        if not rows and problems and all(problem.code is FileCode.MISSING_FILE for problem in problems):
            raise FormatError(
                ProblemCode.BAD_LIST,
                f"of the {len(problems)} files that the list names none is there: {problems[0].detail}",
            )
        return rows

    def _rows_of(self, each: _ListReading) -> Iterator[_Row]:
        for line in each.list.table.lines():
            self._count += 1
            if self._count > _MAX_LINES:
                raise FormatError(
                    ProblemCode.BAD_LIST, f"{each.list.table.name} has more than {_MAX_LINES} rows: split it"
                )
            name = line.cells[each.headings.path] or ""
            path = resolve(name, each.list.folder)
            place = f"line {line.number} of {each.list.table.name}"
            if path is not None and path in self._lines and self._lines[path].cells == line.cells:
                detail = f"{place} repeats line {self._lines[path].number}, so it was left out"
                self._ignored.append(Rejection(path, FileCode.LISTED_TWICE, detail))
                continue
            row = self._row(line, path or "", each)
            if problem := self._problem(line, row, each):
                code, detail = problem
                self.rejected.append(Rejection(name or each.list.path, code, f"{place} {detail}"))
                continue
            self._lines[row.path] = line
            yield row

    def _row(self, line: Line, path: str, each: _ListReading) -> _Row:
        headings = each.headings
        label, split, group, subject = (
            "" if place is None else line.cells[place] or ""
            for place in (headings.label, headings.split, headings.group, headings.subject)
        )
        metadata = tuple(
            self._metadata(name, line.cells[headings.metadata[name]]) if name in headings.metadata else ""
            for name in self.metadata_names
        )
        return _Row(path, self._named_by(each.label, label), split, group, subject, metadata)

    def _problem(self, line: Line, row: _Row, each: _ListReading) -> tuple[FileCode, str] | None:
        """Why a line is rejected, and what to do."""
        if not row.path:
            return FileCode.BAD_PATH, "has no path inside the data set: give it relative to the list"
        if row.path not in self._listing.known:
            near = self._near(row.path)
            hint = "" if near is None else f"; {near!r} is there: write its path so"
            return FileCode.MISSING_FILE, f"names a file that is missing: upload it, or remove the row{hint}"
        if row.path in self._lines:
            return FileCode.LISTED_TWICE, "names the file a second time: remove one of the rows"
        if each.headings.label is not None and not row.label:
            hint = " (of merged cells, the first alone has it)" if each.list.path.endswith(".xlsx") else ""
            return FileCode.MISSING_LABEL, f"has no label{hint}: fill it in, or remove the row"
        if FORBIDDEN.search(row.label + row.group + row.subject):
            return FileCode.BAD_ROW, "has control characters in its label, group or subject: remove them"
        if len(line.cells) > len(each.list.table.header):
            return (
                FileCode.BAD_ROW,
                "has more cells than there are columns: quote text that has the separator",
            )
        return None

    @cached_property
    def _paths_by_name(self) -> Mapping[str, list[str]]:
        """The files by their names, with and without the suffix."""
        paths: dict[str, list[str]] = defaultdict(list)
        for path in self._listing.files:
            pure = PurePosixPath(path)
            for name in {pure.name.casefold(), pure.stem.casefold()}:
                paths[name].append(path)
        return paths

    def _near(self, path: str) -> str | None:
        """The only file of that name, wherever it lies."""
        paths = self._paths_by_name.get(PurePosixPath(path).name.casefold(), [])
        return paths[0] if len(paths) == 1 else None

    # --- what lines mean ---

    def _metadata(self, name: str, cell: str | None) -> str:
        if cell is None:
            self.unusable[name] = "holds lists or objects: metadata are text or numbers"
            return ""
        if len(cell) > MAX_TEXT:
            self.unusable[name] = f"holds texts of more than {MAX_TEXT} characters: shorten them"
            return ""
        return plain(self._named_by(name, cell))

    def _named_by(self, column: str | None, cell: str) -> str:
        """What a number of a column stands for: empty for -1, which is none; any other cell as it is."""
        names = self._conventions.names.get(column or "")
        try:
            number = int(cell) if names else None
        except ValueError:
            return cell
        if names is None or number is None or not -1 <= number < len(names):
            return cell
        return "" if number == -1 else names[number]

    def labelled_by_folders(self, rows: list[_Row]) -> list[_Row]:
        """The rows with the classes and splits of folders `[split/]class`. Raises `FormatError`."""
        depth = 1 if rows and all(_split_folder(row.path) for row in rows) else 0
        labels = [parts[depth] if len(parts := row.path.split("/")) > depth + 1 else "" for row in rows]
        if len(set(labels) - {""}) < 2:
            table = self._lists[0].list.table
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
                self.rejected.append(Rejection(row.path, FileCode.NO_CLASS, detail))
        return rows_with_labels

    def with_splits(self, rows: list[_Row]) -> list[_Row]:
        """The rows whose split is known, if any row has one."""
        if self.has("split") and not any(_split(row.split) for row in rows) and not self._has_column("split"):
            self._unusable_uses["split"] = (
                f"has no name of a split ({', '.join(SPLITS)}): correct it, or rename it to {METADATA}NAME"
            )
            rows = [row._replace(split="") for row in rows]
        if self._conventions.split_folders and not any(row.split for row in rows):
            rows = [row._replace(split=_split_folder(row.path) or "") for row in rows]
        return [row for row in rows if self._has_split(row)] if any(row.split for row in rows) else rows

    def _has_column(self, use: ColumnUse) -> bool:
        """Whether a column has the very name of its use."""
        return any(use == column.casefold() for each in self._lists for column in each.list.table.header)

    def _has_split(self, row: _Row) -> bool:
        if not row.split:
            detail = "has no split although other rows have one: fill it in, or leave out the whole column"
            self.rejected.append(Rejection(row.path, FileCode.MISSING_SPLIT, detail))
            return False
        if _split(row.split) is None:
            detail = f"has the split {row.split!r}: use one of {', '.join(SPLITS)}"
            self.rejected.append(Rejection(row.path, FileCode.UNKNOWN_SPLIT, detail))
            return False
        return True

    def classes(self, labels: set[str], count: int) -> tuple[str, ...]:
        """The classes of `count` rows in their order. Raises `FormatError` if they cannot be classes."""
        orders = (self._conventions.names.get(each.label or "", ()) for each in self._lists)
        order = next((order for order in orders if labels <= set(order)), None)
        order = order or self._listed_classes(labels)
        if order is not None:
            return tuple(dict.fromkeys(name for name in order if name in labels))
        if are_names(len(labels), count):
            raise FormatError(
                ProblemCode.BAD_LIST,
                f"there are {len(labels)} different labels in {count} rows, too many to be classes: name the "
                f"column that has the classes in options.label, or list the classes in {CLASSES_FILE}",
            )
        return natural_order(labels)

    def _listed_classes(self, labels: set[str]) -> Sequence[str] | None:
        """The lines of `classes.txt`, if it names all labels."""
        if CLASSES_FILE not in self._listing.top_files:
            return None
        with open_list(self._listing.root / CLASSES_FILE, errors="replace") as file:
            order = [line.strip() for line in file]
        if unnamed := natural_order(labels.difference(order)):
            detail = f"does not name the class {unnamed[0]!r}, so the classes are in alphabetical order"
            self._ignored.append(Rejection(CLASSES_FILE, FileCode.NOT_LISTED, detail))
            return None
        return order

    def grey_window(self) -> GreyWindow | None:
        """That of `grey_window.txt`."""
        if WINDOW_FILE not in self._listing.top_files:
            return None
        with open_list(self._listing.root / WINDOW_FILE, errors="replace") as file:
            levels = file.read(MAX_TEXT).split()
        try:
            return read_window([int(level) for level in levels])
        except ValueError:
            detail = "is not two levels, low and high, of 0 to 65535, so it was left out"
            self._ignored.append(Rejection(WINDOW_FILE, FileCode.NOT_LISTED, detail))
            return None

    def is_known_class(self, row: _Row, label_of: Mapping[str, int]) -> bool:
        """Whether the label is in the class list; if not, the file is rejected."""
        if row.label not in label_of:
            detail = f"{row.label!r} is not in the class list: correct one of the two"
            self.rejected.append(Rejection(row.path, FileCode.UNKNOWN_LABEL, detail))
        return row.label in label_of

    def groups(self, rows: list[_Row]) -> tuple[tuple[str, ...], list[int]]:
        """The names of the groups in the column `group`, and the group of each row, -1 for none."""
        texts = [row.group for row in rows]
        names = natural_order(filter(None, texts))
        if are_names(len(names), len(rows)):
            self._unusable_uses["group"] = (
                f"has {len(names)} different texts in {len(rows)} rows, too many to be groups: rename it to "
                f"{METADATA}NAME, or to subject if it says which images belong together"
            )
            return (), [-1] * len(rows)
        number_of = {name: number for number, name in enumerate(names)}
        return names, [number_of.get(text, -1) for text in texts]

    def leave_out_metadata(self, rows: Sequence[_Row]) -> None:
        """Leave out the columns that say nothing of groups of images, unless their prefix asks for them."""
        asked_for = {
            name
            for each in self._lists
            for name, place in each.headings.metadata.items()
            if is_prefixed(each.list.table.header[place])
        }
        for place, name in enumerate(self.metadata_names):
            if name not in asked_for | self.unusable.keys():
                cells = [row.metadata[place] for row in rows]
                if reason := reason_to_leave_out(cells, how_to_keep(name)):
                    self.unusable[name] = reason

    # --- what the report says ---

    def readings(self) -> tuple[ColumnReading, ...]:
        """What each column was read as, those that turned out unusable included."""
        readings = (
            self._corrected(reading, name)
            for each in self._lists
            for reading, name in zip(each.headings.readings, each.headings.names_of_metadata, strict=True)
        )
        return tuple(dict.fromkeys(readings))

    def _corrected(self, reading: ColumnReading, metadata: str | None) -> ColumnReading:
        reason = self._unusable_uses.get(reading.read_as) if metadata is None else self.unusable.get(metadata)
        return reading if reason is None else ColumnReading(reading.column, "ignored", reason)

    def ignored(self, paths: Sequence[str]) -> tuple[Rejection, ...]:
        """The files that no list names, and the lines that repeat others; `paths` are the accepted files."""
        lists = [each.list.path for each in self._lists]
        used = [*paths, *lists, CLASSES_FILE, WINDOW_FILE, *(rejection.path for rejection in self.rejected)]
        return (*self._listing.ignored, *self._ignored, *self._listing.unlisted(used))


def _list_reading(each: ListOfImages, options: FormatOptions, conventions: Conventions) -> _ListReading:
    header = each.table.header
    headings = read_headings(
        header,
        name=each.table.name,
        label=options.label or (conventions.label if conventions.label in header else None),
        path=conventions.path if conventions.path in header else None,
    )
    return _ListReading(each, headings)


def _split(text: str) -> str | None:
    """The split that a cell means, or None."""
    return text if text in WITHOUT_OBJECT else canonical_split(text)


def _split_folder(path: str) -> str | None:
    """The split that the top folder of a path is, or None."""
    return canonical_split(path.partition("/")[0]) if "/" in path else None
