"""The parts of an Excel workbook (.xlsx), a zip archive of XML files, as far as cells need them.

A sheet is read row by row, and only rows that are there are read: a file of 25 kB may number one of them
1,048,576. No part is read twice, however many sheets there are.

Not by openpyxl: a list of 200,000 images took it 77 s of its budget of 86, and 42 s this reader; it hides
whether a cell without a value has a formula; and it opens neither "Strict Open XML" nor a file whose styles
have an empty fill or whose date of creation is none.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from defusedxml.ElementTree import DefusedXMLParser, fromstring

_CHUNK = 1 << 16
_COLUMN = re.compile(r"[A-Z]{1,3}")
_LETTERS = 26


class Cell(NamedTuple):
    """A cell with a value or a formula: its column, from 1, and its stored value, None if there is none."""

    column: int
    value: Any


class Row(NamedTuple):
    """A row that is there, and its number, from 1."""

    number: int
    cells: Sequence[Cell]


class _Relation(NamedTuple):
    """What a part of the file is to another, and its name."""

    kind: str
    target: str


class Workbook:
    """The sheets of a file, which stays open for as long as somebody has this object: to open it reads the
    names of all its parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = zipfile.ZipFile(path)
        main = _target(_relations(self._archive, ""), "officeDocument") or ""
        tree = fromstring(self._archive.read(main))
        self._relations = _relations(self._archive, main)
        properties = next(_named(tree, "workbookPr"), None)
        self.is_1904 = properties is not None and properties.get("date1904") in ("1", "true")
        relations_of_sheets = (
            (sheet.get("name", ""), self._relations.get(_relation(sheet))) for sheet in _named(tree, "sheet")
        )
        self.sheets = [
            (name, relation.target)
            for name, relation in relations_of_sheets
            if relation is not None and relation.kind == "worksheet"
        ]
        """The name of each sheet, and of its part."""

    def rows(self, part: str, last: int) -> Iterator[Row]:
        """The rows of a sheet that are there and whose numbers rise, up to the number `last`."""
        number = 0
        for row in _stream(self._archive, part, _SheetReader(self)):
            if row.number > last:
                return
            if row.number > number:
                number = row.number
                yield row

    def value(self, text: str, kind: str, style: int) -> Any:
        """What the text of a cell means. Raises what a damaged file makes Python raise."""
        if kind == "s":
            return self.texts[int(text)]
        if kind == "b":
            return bool(int(text))
        if kind == "d":
            from openpyxl.utils.datetime import from_ISO8601

            return from_ISO8601(text)
        if kind != "n":
            return text
        number = float(text) if any(mark in text for mark in ".eE") else int(text)
        return self._moment(number, style) if style in self._date_styles else number

    def _moment(self, number: float, style: int) -> Any:
        from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

        epoch = MAC_EPOCH if self.is_1904 else WINDOWS_EPOCH
        try:
            return from_excel(number, epoch, timedelta=self._date_styles[style])
        except (OverflowError, ValueError):
            return "#VALUE!"

    @cached_property
    def texts(self) -> Sequence[str]:
        """Those that cells share."""
        part = _target(self._relations, "sharedStrings")
        return [] if part is None else list(_stream(self._archive, part, _TextReader()))

    @cached_property
    def _date_styles(self) -> Mapping[int, bool]:
        """The styles of cells that hold dates or times; whether a style is of a duration."""
        from openpyxl.styles.numbers import builtin_format_code, is_date_format, is_timedelta_format

        part = _target(self._relations, "styles")
        if part is None:
            return {}
        tree = fromstring(self._archive.read(part))
        codes = {
            int(format.get("numFmtId", 0)): format.get("formatCode", "")
            for formats in _named(tree, "numFmts")
            for format in _named(formats, "numFmt")
        }
        numbers = [
            int(style.get("numFmtId", 0))
            for styles in _named(tree, "cellXfs")
            for style in _named(styles, "xf")
        ]
        of_styles = (codes[number] if number in codes else builtin_format_code(number) for number in numbers)
        return {
            style: is_timedelta_format(code) for style, code in enumerate(of_styles) if is_date_format(code)
        }


def _named(tree: Any, name: str) -> Iterator[Any]:
    """The elements of this name, in whatever namespace."""
    return (element for element in tree.iter() if element.tag.rpartition("}")[2] == name)


def _relations(archive: zipfile.ZipFile, part: str) -> Mapping[str, _Relation]:
    """The parts that a part names, by their ids; those of the whole file if it is empty."""
    folder, name = posixpath.split(part)
    tree = fromstring(archive.read(posixpath.join(folder, "_rels", f"{name}.rels")))
    return {
        each.get("Id", ""): _Relation(
            each.get("Type", "").rpartition("/")[2],
            posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/"),
        )
        for each in _named(tree, "Relationship")
    }


def _target(relations: Mapping[str, _Relation], kind: str) -> str | None:
    return next((relation.target for relation in relations.values() if relation.kind == kind), None)


def _relation(sheet: Any) -> str:
    """The id of the part that a sheet is in."""
    return next((str(value) for name, value in sheet.items() if name.endswith("}id")), "")


# --- parts that are read element by element ---

T = TypeVar("T")


class _Reader(Generic[T]):
    """What a parser calls. `complete` has what was read since it was last taken."""

    def __init__(self) -> None:
        self.complete: list[T] = []
        self._text: list[str] | None = None
        """The text of the element that is read now, None in those whose text means nothing."""

    def data(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def close(self) -> None:
        """Called at the end."""

    def _take(self) -> str:
        text = "".join(self._text or ())
        self._text = None
        return text


def _stream(archive: zipfile.ZipFile, part: str, reader: _Reader[T]) -> Iterator[T]:
    parser = DefusedXMLParser(target=reader)
    with archive.open(part) as file:
        while chunk := file.read(_CHUNK):
            parser.feed(chunk)
            complete, reader.complete = reader.complete, []
            yield from complete
        parser.close()


class _TextReader(_Reader[str]):
    """Texts that may have parts of several formats, and a reading aid (`rPh`), which is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self._is_aid = False

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if name == "t" and not self._is_aid:
            self._text = []
        elif name == "rPh":
            self._is_aid = True

    def end(self, tag: str) -> None:
        name = tag.rpartition("}")[2]
        if name == "t":
            self._parts.append(self._take())
        elif name == "rPh":
            self._is_aid = False
        elif name == "si":
            self.complete.append("".join(self._parts).replace("x005F_", ""))  # how Excel writes a plain _x
            self._parts.clear()


class _SheetReader(_Reader[Row]):
    """Rows with their cells. One within another, which no program writes, counts as the next."""

    def __init__(self, book: Workbook) -> None:
        super().__init__()
        self._book = book
        self._columns: dict[str, int] = {}
        self._number = self._column = 0
        self._cells: list[Cell] = []
        self._attributes: Mapping[str, str] = {}
        self._value: str | None = None
        self._is_formula = self._is_aid = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if name == "c":
            self._attributes = attributes
            self._value, self._is_formula = None, False
            place = attributes.get("r")
            self._column = self._column + 1 if place is None else self._column_of(place)
        elif name == "v" or (name == "t" and not self._is_aid):
            self._text = []
        elif name == "row":
            self._number = int(float(attributes.get("r", self._number + 1)))
            self._column, self._cells = 0, []
        elif name == "f":
            self._is_formula = True
        elif name == "rPh":
            self._is_aid = True

    def end(self, tag: str) -> None:
        name = tag.rpartition("}")[2]
        if name in ("v", "t"):
            text = self._take()
            is_inline = self._attributes.get("t") == "inlineStr"
            if is_inline and name == "t":
                self._value = (self._value or "") + text
            elif name == "v" and not is_inline:
                self._value = text or None
        elif name == "c":
            if self._value is not None or self._is_formula:
                self._cells.append(Cell(self._column, self._meaning()))
        elif name == "row":
            self.complete.append(Row(self._number, self._cells))
            self._cells = []
        elif name == "rPh":
            self._is_aid = False

    def _meaning(self) -> Any:
        kind = self._attributes.get("t", "n")
        if self._value is None or kind == "inlineStr":
            return self._value
        return self._book.value(self._value, kind, int(self._attributes.get("s", 0)))

    def _column_of(self, place: str) -> int:
        """The column of a place such as `AB12`. Raises `ValueError`."""
        letters = place.rstrip("0123456789").replace("$", "")
        column = self._columns.get(letters)
        if column is None:
            if not _COLUMN.fullmatch(letters):
                raise ValueError(place)
            column = 0
            for letter in letters:
                column = _LETTERS * column + ord(letter) - ord("A") + 1
            self._columns[letters] = column
        return column
