"""Read the lines of lists: each names an image, with its label, split, group, subject and metadata."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from models.data.archives.guards import FORBIDDEN, plain
from models.data.formats.lists.headings import MAX_TEXT, Headings, read_headings
from models.data.formats.lists.rows import Line, Table
from models.data.formats.lists.side_files import CLASSES_FILE, WINDOW_FILE
from models.data.formats.manifest import DatasetFormat, FormatError, FormatOptions, Listing
from models.data.report import ColumnReading, ColumnUse, FileCode, ProblemCode, Rejection

_FURTHER_USES: tuple[ColumnUse, ...] = ("label", "split", "group", "subject")
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

    format: DatasetFormat
    split_folders: bool = False
    path: str | None = None
    label: str | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Row(NamedTuple):
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


class ListReading(NamedTuple):
    """A list and what its columns serve as."""

    list: ListOfImages
    headings: Headings

    @property
    def label(self) -> str | None:
        """The column of the classes."""
        place = self.headings.places.get("label")
        return None if place is None else self.list.table.header[place]


class ListReader:
    """One reading of lists. It collects the files that are rejected and the columns that cannot be used."""

    def __init__(
        self,
        listing: Listing,
        lists: Sequence[ListOfImages],
        options: FormatOptions,
        conventions: Conventions,
    ) -> None:
        self.listing = listing
        self.conventions = conventions
        self.lists = [_list_reading(each, options, conventions) for each in lists]
        self.metadata_names = tuple(
            dict.fromkeys(name for each in self.lists for name in each.headings.metadata)
        )
        self.rejected = list(listing.rejected)
        self.unusable: dict[str, str] = {}
        """Columns of metadata that are left out, and why."""
        self.unusable_uses: dict[ColumnUse, str] = {}
        """Other columns that are left out, and why."""
        self._lines: dict[str, Line] = {}
        self._count = 0
        self.left_out: list[Rejection] = []
        """Lines and files beside the lists that are not used."""

    def has(self, use: ColumnUse) -> bool:
        """Whether one of the lists has such a column."""
        return any(use in each.headings.places for each in self.lists)

    def rows(self) -> list[Row]:
        """The good lines. Raises `FormatError` if all of them name files that are missing."""
        before = len(self.rejected)
        rows = [row for each in self.lists for row in self._rows_of(each)]
        problems = self.rejected[before:]
        if not rows and problems and all(problem.code is FileCode.MISSING_FILE for problem in problems):
            raise FormatError(
                ProblemCode.BAD_LIST,
                f"of the {len(problems)} files that the list names none is there: {problems[0].detail}",
            )
        return rows

    def _rows_of(self, each: ListReading) -> Iterator[Row]:
        for line in each.list.table.lines():
            self._count += 1
            if self._count > _MAX_LINES:
                raise FormatError(
                    ProblemCode.BAD_LIST, f"{each.list.table.name} has more than {_MAX_LINES} rows: split it"
                )
            name = line.cells[each.headings.places["path"]] or ""
            path = resolve(name, each.list.folder)
            place = f"line {line.number} of {each.list.table.name}"
            if path is not None and path in self._lines and self._lines[path].cells == line.cells:
                detail = f"{place} repeats line {self._lines[path].number}, so it was left out"
                self.left_out.append(Rejection(path, FileCode.LISTED_TWICE, detail))
                continue
            row = self._row(line, path or "", each)
            if problem := self._problem(line, row, each):
                code, detail = problem
                self.rejected.append(Rejection(name or each.list.path, code, f"{place} {detail}"))
                continue
            self._lines[row.path] = line
            yield row

    def _row(self, line: Line, path: str, each: ListReading) -> Row:
        headings = each.headings
        label, split, group, subject = (
            "" if place is None else line.cells[place] or ""
            for place in map(headings.places.get, _FURTHER_USES)
        )
        metadata = tuple(
            self._metadata(name, line.cells[headings.metadata[name]]) if name in headings.metadata else ""
            for name in self.metadata_names
        )
        return Row(path, self._named_by(each.label, label), split, group, subject, metadata)

    def _problem(self, line: Line, row: Row, each: ListReading) -> tuple[FileCode, str] | None:
        """Why a line is rejected, and what to do."""
        if not row.path:
            return FileCode.BAD_PATH, "has no path inside the data set: give it relative to the list"
        if row.path not in self.listing.known:
            near = self._near(row.path)
            hint = "" if near is None else f"; {near!r} is there: write its path so"
            return FileCode.MISSING_FILE, f"names a file that is missing: upload it, or remove the row{hint}"
        if row.path in self._lines:
            return FileCode.LISTED_TWICE, "names the file a second time: remove one of the rows"
        if each.label is not None and not row.label:
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
        for path in self.listing.files:
            pure = PurePosixPath(path)
            for name in {pure.name.casefold(), pure.stem.casefold()}:
                paths[name].append(path)
        return paths

    def _near(self, path: str) -> str | None:
        """The only file of that name, wherever it lies."""
        paths = self._paths_by_name.get(PurePosixPath(path).name.casefold(), [])
        return paths[0] if len(paths) == 1 else None

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
        names = self.conventions.names.get(column or "")
        try:
            number = int(cell) if names else None
        except ValueError:
            return cell
        if names is None or number is None or not -1 <= number < len(names):
            return cell
        return "" if number == -1 else names[number]

    def has_column(self, use: ColumnUse) -> bool:
        """Whether a column has the very name of its use."""
        return any(use == column.casefold() for each in self.lists for column in each.list.table.header)

    def readings(self) -> tuple[ColumnReading, ...]:
        """What each column was read as, those that turned out unusable included."""
        readings = (
            self._corrected(reading, name)
            for each in self.lists
            for reading, name in zip(each.headings.readings, each.headings.names_of_metadata, strict=True)
        )
        return tuple(dict.fromkeys(readings))

    def _corrected(self, reading: ColumnReading, metadata: str | None) -> ColumnReading:
        reason = self.unusable_uses.get(reading.read_as) if metadata is None else self.unusable.get(metadata)
        return reading if reason is None else ColumnReading(reading.column, "ignored", reason)

    def ignored(self, paths: Sequence[str]) -> tuple[Rejection, ...]:
        """The files that no list names, and the lines that repeat others; `paths` are the accepted files."""
        lists = [each.list.path for each in self.lists]
        used = [*paths, *lists, CLASSES_FILE, WINDOW_FILE, *(rejection.path for rejection in self.rejected)]
        return (*self.listing.ignored, *self.left_out, *self.listing.unlisted(used))


def _list_reading(each: ListOfImages, options: FormatOptions, conventions: Conventions) -> ListReading:
    header = each.table.header
    headings = read_headings(
        header,
        name=each.table.name,
        label=options.label or (conventions.label if conventions.label in header else None),
        path=options.path or (conventions.path if conventions.path in header else None),
    )
    return ListReading(each, headings)
