"""The rows of a list of images, whatever its file is: separated text, a sheet of a workbook, JSON lines,
parquet.

Parquet is read within a bound of memory. What a page inflates to stands in the page alone, and a
dictionary may repeat a large value without end, so no size can be checked before decoding. The system's
limit on the memory of the process is set instead.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.formats.lists.headings import is_called
from models.data.formats.manifest import MAX_LIST, FormatError, open_list
from models.data.report import ProblemCode
from models.runtime.bounded import limited_memory

MAX_COLUMNS = 1000
_SEPARATORS = (",", ";", "\t")
MAX_MEMORY = 2 << 30
"""Bytes that decoding a file may take: a page of images, and a batch of them."""
_BATCH_ROWS = 16


class Line(NamedTuple):
    """A row that is not blank: its line number and its stripped cells, at least one per column.

    More cells than columns are those of a row that is too long. None is a cell that holds no text and no
    number, but a list, say; only formats with types have such.
    """

    number: int
    cells: tuple[str | None, ...]


class Table(NamedTuple):
    """A list with a header. `name` is that of messages; `lines` reads it from the start at every call."""

    name: str
    header: tuple[str, ...]
    lines: Callable[[], Iterator[Line]]


def separated_text(path: Path) -> Table:
    """A file of rows whose cells are separated by commas, semicolons or tabs, as its header is.

    `lines` raises `FormatError` where the text cannot be read; a header in another encoding is no error yet.
    """
    headers = {separator: _text_header(path, separator) for separator in _SEPARATORS}
    separator = max(_SEPARATORS, key=lambda separator: _fit(headers[separator].cells))
    header = headers[separator]
    return Table(
        path.name,
        require_few_columns(header.cells, path.name),
        lambda: _text_lines(path, separator, header),
    )


def _fit(header: Sequence[str]) -> tuple[bool, int]:
    """How well a separator fits, by the header that it makes: one with paths before one with more cells."""
    return any(is_called(column, "path") for column in header), len(header)


class _TextHeader(NamedTuple):
    """The first row that is not blank, and the number of rows up to it."""

    cells: tuple[str, ...]
    rows: int


def _text_header(path: Path, separator: str) -> _TextHeader:
    try:
        # Replaced, so that a list in Latin-1 is recognised, and named as bad.
        with open_list(path, errors="replace") as file:
            for count, row in enumerate(csv.reader(file, delimiter=separator), start=1):
                if cells := strip_cells(row):
                    return _TextHeader(cells, count)
    except csv.Error:
        pass
    return _TextHeader((), 0)


def _text_lines(path: Path, separator: str, header: _TextHeader) -> Iterator[Line]:
    width = len(header.cells)
    try:
        with open_list(path) as file:
            reader = csv.reader(file, delimiter=separator)
            for count, row in enumerate(reader, start=1):
                if count > header.rows and (cells := strip_cells(row)):
                    yield Line(reader.line_num, cells + ("",) * (width - len(cells)))
    except (csv.Error, UnicodeError) as error:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{path.name} is not CSV in UTF-8: export it again, from Excel as 'CSV UTF-8' ({error})",
        ) from error


def json_lines(path: Path) -> Table:
    """A file with a JSON object per line, whose keys are the columns. Raises `FormatError`."""
    header = tuple(dict.fromkeys(key for _, record in _records(path) for key in record))
    return Table(
        path.name,
        require_few_columns(header, path.name),
        lambda: (
            Line(number, tuple(cell_text(record.get(column)) for column in header))
            for number, record in _records(path)
        ),
    )


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and objects."""
    number = 0
    try:
        with open_list(path) as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, _json_object(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"line {number} of {path.name} is not a JSON object in UTF-8: export it again ({error})",
        ) from error


def _json_object(line: str) -> Mapping[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - reported like any other damage
    return record


def cell_text(scalar: Any) -> str | None:
    """A value of JSON, a workbook or parquet as the text of a cell; None for a list, an object or bytes."""
    if scalar is None or scalar != scalar:  # NaN
        return ""
    if isinstance(scalar, bool):
        return str(scalar).lower()
    if isinstance(scalar, str | int | float | Decimal):
        return str(scalar).strip()
    return scalar.isoformat() if isinstance(scalar, date | time) else None


def strip_cells(row: list[str]) -> tuple[str, ...]:
    """The cells without the white space around them, and without empty ones at the end."""
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return tuple(cells)


def require_few_columns(header: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The header, if a list may have so many columns. Raises `FormatError`."""
    if len(header) > MAX_COLUMNS:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{name} has {len(header)} columns, more than the limit of {MAX_COLUMNS}: remove some",
        )
    return header


def schema_of(path: Path) -> pa.Schema:
    """The columns of a file and their types. Raises `FormatError`."""
    with _decoding(path):
        return pq.read_schema(path)


def records(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of some columns as Python objects, a few in memory at a time. Raises `FormatError`."""
    with _decoding(path):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        batches = file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False)
    with file:
        while True:
            with _decoding(path):
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            yield from rows


def is_scalar(kind: pa.DataType) -> bool:
    """Whether values of this type are text or numbers."""
    if pa.types.is_dictionary(kind):
        return is_scalar(kind.value_type)
    return not (pa.types.is_nested(kind) or _is_binary(kind))


def scalar_table(path: Path) -> Table:
    """A file as a list, without what its lists, objects and bytes hold. Raises `FormatError`."""
    schema = schema_of(path)
    header = require_few_columns(tuple(schema.names), path.name)
    scalars = [field.name for field in schema if is_scalar(field.type)]
    return Table(path.name, header, lambda: _lines(path, header, scalars))


def _lines(path: Path, header: Sequence[str], scalars: Sequence[str]) -> Iterator[Line]:
    left = MAX_LIST
    absent = dict.fromkeys(set(header).difference(scalars), ())
    for number, record in enumerate(records(path, scalars), start=1):
        cells = tuple(cell_text(cell) for cell in ({**absent, **record}[column] for column in header))
        left -= sum(len(cell or "") for cell in cells)
        if left < 0:
            raise too_much_text(path)
        yield Line(number, cells)


def too_much_text(path: Path) -> FormatError:
    """The refusal of a file whose texts are longer than a list may be."""
    return FormatError(
        ProblemCode.BAD_LIST, f"{path.name} has more than {MAX_LIST} characters of text: leave columns out"
    )


def _is_binary(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    )


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Decode within the bound of memory. Raises `FormatError` for a damaged file, and for a bomb."""
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())  # any other has up to a gigabyte in reserve, beyond the bound
    try:
        with limited_memory(MAX_MEMORY):
            yield
    except MemoryError as error:
        raise FormatError(
            ProblemCode.TOO_MANY_BYTES,
            f"{path.name} takes more than {MAX_MEMORY} bytes to decode: write it in smaller row groups",
        ) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is not a parquet file that can be read: write it again"
        ) from error
    finally:
        pa.set_memory_pool(pool)
