"""The sheets of an Excel workbook (.xlsx) as lists, within bounds: it is a zip archive of XML files.

calamine holds 32 bytes for every place from the first one with a value to the last. It aborts the process
where memory ends, so whoever reads a stranger's workbook does it in a process of its own.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum

from models.data.formats.lists.rows import Line, Table, cell_text, require_few_columns, strip_cells
from models.data.formats.manifest import MAX_LIST, FormatError
from models.data.report import ProblemCode

SUFFIX = ".xlsx"
_MAX_WHOLE = 16 << 20  # bytes of the parts beside the cells and their texts: styles, properties
_COMPRESSIONS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))  # others may inflate without a bound
_ERROR_CELL = re.compile(rb"""(<(?:\w+:)?c\s[^<>]*\bt=["'])e(?=["'])""")
# A cell with a formula and no value, or an empty one: a text may be empty, anything else was not computed.
_FORMULA_CELL = re.compile(
    rb"<((?:\w+:)?)c\b([^<>]*)>\s*<(?:\w+:)?f\b(?:[^<>]*/>|[^<>]*>[^<>]*</[^<>]*>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v\s*></[^<>]*>)?\s*(?=</)"
)
_TYPE = re.compile(rb"""\bt=["'](\w+)["']""")
_UNCOMPUTED = "#UNCOMPUTED!"
_ERRORS = ("#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#SPILL!", "#CALC!")
_PROBLEMS = {error: f"is {error}: correct the formula" for error in _ERRORS} | {
    _UNCOMPUTED: "has a formula without a stored value: open the file in Excel or LibreOffice and save it"
}
# What a damaged file makes zipfile and calamine raise.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    CalamineError,
    EOFError,
    LookupError,
    ValueError,
    ArithmeticError,
    RuntimeError,
    OSError,  # a place before the start of the file
)


def sheets(path: Path) -> list[Table]:
    """The sheets that have a first row. Raises `FormatError`, and `lines` of a sheet too."""
    try:
        with CalamineWorkbook.from_object(_copy(path)) as book:
            read = [
                book.get_sheet_by_index(place)
                for place, each in enumerate(book.sheets_metadata)
                if each.typ == SheetTypeEnum.WorkSheet
            ]
    except _DAMAGE as error:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{path.name} is not a workbook that can be read: save it again without a password, or as CSV "
            f"({type(error).__name__})",
        ) from error
    tables = []
    for sheet in read:
        called = path.name if len(read) == 1 else f"the sheet {sheet.name!r} of {path.name}"
        if first := next(_rows(sheet, path.name), None):
            header = require_few_columns(tuple(cell or "" for cell in first.cells), called)
            tables.append(Table(called, header, partial(_lines, sheet, path.name, first.number, len(header))))
    return tables


def _copy(path: Path) -> BytesIO:
    """The parts of XML, of which zipfile reads no more than the sizes in the directory claim.

    Errors of formulas, and formulas without a value, are texts there.
    calamine takes both for empty cells, and errors that are newer than its list for damage.
    """
    copy = BytesIO()
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as parts,
    ):
        _require_bounded(path, archive.infolist())
        for name in dict.fromkeys(archive.namelist()):
            if name.endswith((".xml", ".rels")):
                content = _ERROR_CELL.sub(rb"\1str", archive.read(name))
                parts.writestr(name, _FORMULA_CELL.sub(_mark_uncomputed, content))
    copy.seek(0)
    return copy


def _mark_uncomputed(cell: re.Match[bytes]) -> bytes:
    prefix, attributes = cell.groups()
    if (kind := _TYPE.search(attributes)) and kind[1] == b"str":
        return cell[0]
    others = _TYPE.sub(b"", attributes)
    value = b"<%bv>%b</%bv>" % (prefix, _UNCOMPUTED.encode(), prefix)
    return b'<%bc%b t="str">%b' % (prefix, others, value)


def _require_bounded(path: Path, entries: list[zipfile.ZipInfo]) -> None:
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


def _lines(sheet: CalamineSheet, name: str, header_row: int, width: int) -> Iterator[Line]:
    for line in _rows(sheet, name, width + 1):
        if line.number > header_row:
            yield line._replace(cells=line.cells + ("",) * (width - len(line.cells)))


def _rows(sheet: CalamineSheet, name: str, columns: int | None = None) -> Iterator[Line]:
    """The first `columns` of the rows, blank ones left out.
    Raises `FormatError`.

    Only the first of merged cells has a value.
    A formula must have one, from the program that saved the file.
    """
    for number, row in enumerate(sheet.iter_rows(), start=1):
        texts = [_text(cell) for cell in row[:columns]]
        for error in filter(_PROBLEMS.get, texts):
            column = texts.index(error) + 1 + (sheet.start or (0, 0))[1]
            raise FormatError(
                ProblemCode.BAD_LIST, f"row {number}, column {column} of {name} {_PROBLEMS[error]}"
            )
        if cells := strip_cells(texts):
            yield Line(number, cells)


def _text(cell: object) -> str:
    return cell_text(int(cell) if isinstance(cell, float) and cell.is_integer() else cell) or ""
