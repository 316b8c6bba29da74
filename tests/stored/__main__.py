"""Writes what later versions are tested with: `python -m tests.stored`, in the last commit of a version.

It writes the statements of the first migration.
"""

from __future__ import annotations

from tests.stored.migration import DIALECTS, FIRST, FOLDER, statements


def main() -> None:
    for dialect in DIALECTS:
        (FOLDER / f"{FIRST}-{dialect}.sql").write_text(statements(FIRST, dialect))


if __name__ == "__main__":
    main()
