"""The sheets of an Excel workbook (.xlsx) as lists, within bounds: it is a zip archive of XML files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from defusedxml.ElementTree import ParseError

from models.data.formats.listing import MAX_LIST
from models.data.formats.manifest import FormatError
from models.data.formats.rows import MAX_COLUMNS, Line, Table, cell_text, require_few_columns, strip_cells
from models.data.report import ProblemCode

SUFFIX = ".xlsx"
_MAX_WHOLE = 16 << 20  # bytes of the parts that are read whole: styles, properties
_HEADER_ROWS = 100
_MAX_ROWS = 1 << 20  # Excel's own limit; the numbers of rows in the file may claim any
_COMPRESSIONS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))  # others may inflate without a bound
_ERRORS = frozenset(("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"))
# What openpyxl and the modules below it raise for damaged files.
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
        with closing(_open(path, data_only=True)) as workbook:
            names = [sheet.title for sheet in workbook.worksheets]
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    tables = []
    for name in names:
        called = path.name if len(names) == 1 else f"the sheet {name!r} of {path.name}"
        if first := next(_rows(path, name, columns=MAX_COLUMNS + 1, rows=_HEADER_ROWS), None):
            header = require_few_columns(tuple(cell or "" for cell in first.cells), called)
            tables.append(Table(called, header, partial(_lines, path, name, first.number, len(header))))
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


def _open(path: Path, *, data_only: bool) -> Any:
    """The workbook with the stored values of formulas (`data_only`), or with the formulas themselves."""
    import openpyxl  # takes a third of a second to import

    return openpyxl.load_workbook(path, read_only=True, data_only=data_only, keep_links=False)


def _lines(path: Path, sheet: str, header_row: int, width: int) -> Iterator[Line]:
    for line in _rows(path, sheet, columns=width + 1, rows=_MAX_ROWS):
        if line.number > header_row:
            yield line._replace(cells=line.cells + ("",) * (width - len(line.cells)))


def _rows(path: Path, sheet: str, *, columns: int, rows: int) -> Iterator[Line]:
    """The first `columns` of the first `rows`, blank ones left out. Raises `FormatError`.

    Only the first of merged cells has a value. A formula has one where the program that saved the file
    computed it.
    """
    try:
        with (
            closing(_open(path, data_only=True)) as values,
            closing(_open(path, data_only=False)) as formulas,
        ):
            both = (
                book[sheet].iter_rows(max_row=rows, max_col=columns, values_only=True)
                for book in (values, formulas)
            )
            for number, (row, sources) in enumerate(zip(*both, strict=True), start=1):
                for column, (cell, source) in enumerate(zip(row, sources, strict=True), start=1):
                    if reason := _unusable(cell, source):
                        place = f"row {number}, column {column} of {path.name}"
                        raise FormatError(ProblemCode.BAD_LIST, f"{place} {reason}")
                if cells := strip_cells([cell_text(cell) or "" for cell in row]):
                    yield Line(number, cells)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _unusable(cell: Any, source: Any) -> str | None:
    if cell is None and source is not None:
        return "has a formula without a stored value: open the file in Excel or LibreOffice and save it"
    if cell in _ERRORS:
        return f"is {cell}: correct the formula"
    return None


def _damaged(path: Path, error: Exception) -> FormatError:
    return FormatError(
        ProblemCode.BAD_LIST,
        f"{path.name} is not a workbook that can be read: save it again without a password, or as CSV "
        f"({type(error).__name__})",
    )
