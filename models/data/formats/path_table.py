"""A table of images that lie elsewhere: CSV or parquet with a column of their paths or addresses."""

from __future__ import annotations

from pathlib import Path

from models.data.formats.lists.headings import columns_of, position_of
from models.data.formats.lists.rows import scalar_table, separated_text
from models.data.formats.manifest import FormatError
from models.data.report import ProblemCode

_PARQUET = b"PAR1"


def read_paths(file: Path, column: str | None = None) -> list[str]:
    """The cells of the column `path`, or of another one, in order. Raises `FormatError`."""
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
