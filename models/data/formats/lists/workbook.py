"""The sheets of an Excel workbook (.xlsx) as lists, within bounds: it is a zip archive of XML files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from defusedxml.ElementTree import ParseError

from models.data.formats.lists.rows import (
    MAX_COLUMNS,
    Line,
    Table,
    cell_text,
    require_few_columns,
    strip_cells,
)
from models.data.formats.lists.workbook_parts import Cell, Workbook
from models.data.formats.manifest import MAX_LIST, FormatError
from models.data.report import ProblemCode

SUFFIX = ".xlsx"
_MAX_WHOLE = 16 << 20  # bytes of the parts that are read whole: styles, properties
_HEADER_ROWS = 100
_MAX_ROWS = 1 << 20  # Excel's own limit; the numbers of rows in the file may claim any
_COMPRESSIONS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))  # others may inflate without a bound
_ERRORS = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
# What a damaged file makes Python and its libraries raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
)


def sheets(path: Path) -> list[Table]:
    """The sheets that have a first row. Raises `FormatError`, and `lines` of a sheet too."""
    try:
        _require_bounded(path)
        book = Workbook(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    tables = []
    for name, part in book.sheets:
        called = path.name if len(book.sheets) == 1 else f"the sheet {name!r} of {path.name}"
        if first := next(_rows(book, part, columns=MAX_COLUMNS + 1, rows=_HEADER_ROWS), None):
            header = require_few_columns(tuple(cell or "" for cell in first.cells), called)
            tables.append(Table(called, header, partial(_lines, book, part, first.number, len(header))))
    return tables


def _require_bounded(path: Path) -> None:
    """Sizes are those that the directory claims, beyond which zipfile gives no bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type not in _COMPRESSIONS for entry in entries):
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is compressed in an unusual way: save it again, or as CSV"
        )
    streamed_bytes, whole_bytes = 0, 0
    for entry in entries:
        if "/worksheets/" in entry.filename or entry.filename.endswith("/sharedStrings.xml"):
            streamed_bytes += entry.file_size
        elif entry.filename.endswith((".xml", ".rels")):
            whole_bytes += entry.file_size
    if streamed_bytes > MAX_LIST or whole_bytes > _MAX_WHOLE:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{path.name} unpacks to {streamed_bytes + whole_bytes} bytes, more than a list may have: keep "
            "only the list in it, or save it as CSV",
        )


def _lines(book: Workbook, part: str, header_row: int, width: int) -> Iterator[Line]:
    for line in _rows(book, part, columns=width + 1, rows=_MAX_ROWS):
        if line.number > header_row:
            yield line._replace(cells=line.cells + ("",) * (width - len(line.cells)))


def _rows(book: Workbook, part: str, *, columns: int, rows: int) -> Iterator[Line]:
    """The first `columns` of the first `rows`, blank ones left out. Raises `FormatError`.

    Only the first of merged cells has a value. A formula has one where the program that saved the file
    computed it.
    """
    try:
        for row in book.rows(part, rows):
            texts: list[str] = []
            for cell in row.cells:
                if cell.column > columns:
                    continue
                if reason := _unusable(cell):
                    place = f"row {row.number}, column {cell.column} of {book.path.name}"
                    raise FormatError(ProblemCode.BAD_LIST, f"{place} {reason}")
                texts += [""] * (cell.column - len(texts))
                texts[cell.column - 1] = cell_text(cell.value) or ""
            if cells := strip_cells(texts):
                yield Line(row.number, cells)
    except _DAMAGE as error:
        raise _damaged(book.path, error) from error


def _unusable(cell: Cell) -> str | None:
    if cell.value is None:
        return "has a formula without a stored value: open the file in Excel or LibreOffice and save it"
    if cell.value in _ERRORS:
        return f"is {cell.value}: correct the formula"
    return None


def _damaged(path: Path, error: Exception) -> FormatError:
    return FormatError(
        ProblemCode.BAD_LIST,
        f"{path.name} is not a workbook that can be read: save it again without a password, or as CSV "
        f"({type(error).__name__})",
    )
