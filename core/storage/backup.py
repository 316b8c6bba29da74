"""Back up the service to a folder, and restore it from there, with either kind of database.

    backup.json          the revision of the tables, and the numbers of rows and files
    tables/NAME.jsonl    one row per line, in the order of the database; bytes in base64
    artifacts/…          the store, file by file
    files.jsonl          the size and the SHA-256 of each of these files (`core.storage.backup_files`)

The rows are read in one snapshot, then the files are copied.
An artifact is written before the row that names
it and never changes, so every file named by a row is in the backup, unless it was deleted meanwhile.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import JSON, Connection, LargeBinary, MetaData, Table, false, func, select

from core import schema
from core.session import Database
from core.storage.artifacts import MARKER, ArtifactMissing, Artifacts
from core.storage.backup_files import NotRestorable, check_contents, check_kinds, write_list
from core.storage.copies import new_mark
from core.tables import ReviewImageRow, ReviewItemRow

logger = logging.getLogger(__name__)

ABOUT, TABLES, FILES = "backup.json", "tables", "artifacts"
_ROWS = 500
"""Rows read or inserted at a time."""
_IMAGES, _ITEMS = ReviewImageRow.__tablename__, ReviewItemRow.__tablename__
_WITHOUT_IMAGE = {"bytes": None, "subject": None}
"""As if the image had been deleted."""
_TRIES = 3
"""How often to try to copy an artifact that is replaced meanwhile."""


@dataclass(frozen=True)
class Contents:
    """The contents of a backup."""

    revision: str
    rows: dict[str, int]
    """Table → rows."""
    files: int
    bytes: int
    """Total size of the files."""
    sha256: str
    """Of `files.jsonl`."""


def save(
    database: str, artifacts: Artifacts | None, folder: Path, *, review_images: bool = False
) -> Contents:
    """Copy all rows and, if a store is given, all files into `folder`, which must be new or empty.

    The images of review queues and their subjects are left out unless `review_images` asks for them. The
    service may keep running. `backup.json` is written last: a folder without it is not a backup.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise NotRestorable(f"{folder} is not empty; name a new or empty folder")
    (folder / TABLES).mkdir()
    with closing(Database(database)) as opened, opened.engine.connect() as plain:
        # One snapshot for all tables; in SQLite every read transaction is one.
        level = {"isolation_level": "REPEATABLE READ"} if plain.dialect.name == "postgresql" else {}
        connection = plain.execution_options(read_only=True, **level)
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            raise NotRestorable("the database has no tables; there is nothing to back up")
        schema.refuse_earlier("the database", revision)
        rows = {
            table.name: _write(connection, table, folder, review_images=review_images)
            for table in _tables(connection)
        }
    sizes = [] if artifacts is None else list(_fetch(artifacts, folder / FILES))
    contents = Contents(revision, rows, len(sizes), sum(sizes), write_list(folder))
    (folder / ABOUT).write_text(json.dumps(asdict(contents), indent=2) + "\n")
    return contents


def restore(folder: Path, database: str, artifacts: Artifacts) -> Contents:
    """Fill an empty database and the store from `folder`, and bring the tables up to date.

    The service must not run on them meanwhile.
    Raises `NotRestorable`, and changes nothing, if the folder is
    not a complete backup or is from a newer version, if a file in it is missing, changed, added or a link, or
    if the database has rows; `EarlierCheckout` if it is from a checkout before the first release. An
    interrupted restore can be repeated: the rows are inserted in one transaction, after the files.
    """
    contents = _contents(folder)
    if not schema.knows(contents.revision):
        raise NotRestorable(
            f"the backup was made by a newer version ({contents.revision}); update masktune first"
        )
    with closing(Database(database)) as opened:
        with opened.engine.connect() as connection:
            if any(connection.scalar(select(func.count()).select_from(t)) for t in _tables(connection)):
                raise NotRestorable("the database is not empty; restore into an empty one")
        check_contents(folder, ABOUT, contents.sha256)
        if contents.files:
            _store(folder / FILES, artifacts)
        schema.recreate(database, contents.revision)
        with opened.engine.begin() as connection:
            for table in _tables(connection):
                _read(connection, table, folder)
    schema.upgrade(database)
    return contents


# --- rows ---------------------------------------------------------------------------------


def _tables(connection: Connection) -> list[Table]:
    """The tables as they are in the database, which may be older than the code; referenced ones first."""
    metadata = MetaData()
    metadata.reflect(connection)
    for table in metadata.tables.values():
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def _rows_at_a_time(table: Table) -> int:
    return 1 if table.name == _IMAGES else _ROWS  # an image may have many megabytes


def _write(connection: Connection, table: Table, folder: Path, *, review_images: bool) -> int:
    count = 0
    partly = None if review_images else table.name
    change = _WITHOUT_IMAGE if partly == _ITEMS else {}
    with (folder / TABLES / f"{table.name}.jsonl").open("w", encoding="utf-8") as file:
        chosen = table.select().where(false()) if partly == _IMAGES else table.select()
        rows = connection.execution_options(yield_per=_rows_at_a_time(table)).execute(chosen)
        for row in rows.mappings():
            file.write(json.dumps(dict(row) | change, default=_text, ensure_ascii=False) + "\n")
            count += 1
    return count


def _read(connection: Connection, table: Table, folder: Path) -> None:
    binary = [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
    with (folder / TABLES / f"{table.name}.jsonl").open(encoding="utf-8") as file:
        while rows := [_row(line, binary) for line in islice(file, _rows_at_a_time(table))]:
            connection.execute(table.insert(), rows)


def _row(line: str, binary: Iterable[str]) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    return row | {name: base64.b64decode(row[name]) for name in binary if row[name] is not None}


def _text(block: object) -> str:
    assert isinstance(block, (bytes, memoryview))
    return base64.b64encode(block).decode()


# --- files --------------------------------------------------------------------------------


def _fetch(artifacts: Artifacts, folder: Path) -> Iterator[int]:
    """Copy the store's files and yield their sizes. In an object store, only keys with a marker exist."""
    names = artifacts.fs.find(artifacts.root) if artifacts.fs.exists(artifacts.root) else []
    if artifacts.local:
        yield from _copy(artifacts, names, folder)
        return
    for name in names:
        path, _, last = name.rpartition("/")
        if last == MARKER:
            yield from _whole(artifacts, str(_relative(artifacts, path)), folder)


def _whole(artifacts: Artifacts, key: str, folder: Path) -> list[int]:
    """Copy an artifact of an object store, its marker last; try again if it was replaced meanwhile.

    Running jobs replace their work folders. Each has two alternating copies in the store, so if one is
    replaced faster than it can be copied, there is still the other.
    """
    target = folder / key
    for _ in range(_TRIES):
        try:
            if artifacts.copies.save(key, target):
                (target / MARKER).touch()
                return [file.stat().st_size for file in target.rglob("*") if file.is_file()]
        except ArtifactMissing:  # deleted since it was listed
            return []
    logger.warning("%s was replaced each time it was copied; it is left out", key)
    return []


def _relative(artifacts: Artifacts, name: str) -> PurePosixPath:
    return PurePosixPath(name[len(artifacts.root) :].lstrip("/"))


def _copy(artifacts: Artifacts, names: Iterable[str], folder: Path) -> Iterator[int]:
    """Copy these files and yield their sizes. Hidden names are artifacts being written and are skipped."""
    for name in names:
        relative = _relative(artifacts, name)
        if any(part.startswith(".") for part in relative.parts):
            continue
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            artifacts.fs.get_file(name, str(target))
        except FileNotFoundError:  # deleted since it was listed
            continue
        yield target.stat().st_size


def _store(folder: Path, artifacts: Artifacts) -> None:
    """Copy the files into the store; in an object store, write the markers that make them exist last."""
    files = [PurePosixPath(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
    for file in (file for file in files if file.name != MARKER):
        target = f"{artifacts.root}/{file}"
        artifacts.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        artifacts.fs.put_file(str(folder / file), target)
    if not artifacts.local:
        for marked in _marked(files):
            artifacts.fs.pipe_file(f"{artifacts.root}/{marked}/{MARKER}", new_mark())


def _marked(files: list[PurePosixPath]) -> set[PurePosixPath]:
    """The folders that get a marker: those that had one, or all folders of a backup from a local store.

    Only its writer knows which folder is a key (`models/…`, `jobs/…/erm`);
    superfluous markers do no harm.
    """
    marked = {file.parent for file in files if file.name == MARKER}
    return marked or {parent for file in files for parent in file.parents if len(parent.parts) > 1}


def _contents(folder: Path) -> Contents:
    try:
        check_kinds(folder)
        about = json.loads((folder / ABOUT).read_text())
        schema.refuse_earlier("the backup", about["revision"])
        return Contents(**about)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise NotRestorable(f"{folder} is not a complete backup: its {ABOUT} cannot be read") from error
