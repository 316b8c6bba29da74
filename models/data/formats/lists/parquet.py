"""The rows of parquet files, within a bound of memory.

What a page inflates to stands in the page alone, and a dictionary may repeat a large value without end, so
no size can be checked before decoding. The system's limit on the memory of the process is set instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.data.formats.lists.rows import Line, Table, cell_text, require_few_columns
from models.data.formats.manifest import MAX_LIST, FormatError
from models.data.report import ProblemCode
from models.runtime.bounded import limited_memory

MAX_MEMORY = 2 << 30
"""Bytes that decoding a file may take: a page of images, and a batch of them."""
_BATCH_ROWS = 16


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
