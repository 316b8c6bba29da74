"""The files of a backup: their list, with size and SHA-256, and what differs from it.

    files.jsonl          {"path": "artifacts/models/…", "bytes": 94371840, "sha256": "…"}, a line per file

Whoever restores a backup may have got it from somebody else, so links are never followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LIST = "files.jsonl"
_MOST_NAMED = 5


class NotRestorable(Exception):
    """This folder cannot be restored, or not into this service; the text says why."""


@dataclass(frozen=True)
class _File:
    """A file, as it was when the backup was made."""

    bytes: int
    sha256: str


def write_list(folder: Path) -> str:
    """List every file below `folder`; return the SHA-256 of the list itself."""
    paths = [path for path, _ in _entries(folder)]
    with (folder / LIST).open("w", encoding="utf-8") as file:
        for path in paths:
            entry = {"path": path, "bytes": (folder / path).stat().st_size, "sha256": _sha256(folder / path)}
            file.write(json.dumps(entry) + "\n")
    return _sha256(folder / LIST)


def check_kinds(folder: Path) -> None:
    """Raise `NotRestorable`, with their names, if anything but folders and plain files is below `folder`.

    A file with a second name may be one of this host that was linked into the backup.
    """
    faults = []
    for path, status in _entries(folder):
        if stat.S_ISLNK(status.st_mode):
            faults.append(f"{_printable(path)} is a link")
        elif not stat.S_ISREG(status.st_mode):
            faults.append(f"{_printable(path)} is neither a file nor a folder")
        elif status.st_nlink > 1:
            faults.append(
                f"{_printable(path)} is a hard link to another file; copy the backup, and restore the copy"
            )
    _refuse(faults)


def check_contents(folder: Path, about: str, sha256: str) -> None:
    """Raise `NotRestorable`, with their names, if files are missing, changed or not in the list.

    `about` is the path of the one file that is not listed; `sha256` is that of the list.
    """
    sizes = {path: status.st_size for path, status in _entries(folder) if path != about}
    if LIST not in sizes or _sha256(folder / LIST) != sha256:
        _refuse([f"{LIST} is missing or was changed"])
    del sizes[LIST]
    listed = _read_list(folder / LIST)
    faults = [f"{_printable(path)} is missing" for path in sorted(listed.keys() - sizes.keys())]
    faults += [f"{_printable(path)} was added" for path in sorted(sizes.keys() - listed.keys())]
    faults += _changed(folder, listed, sizes)
    _refuse(faults)


def _changed(folder: Path, listed: Mapping[str, _File], sizes: Mapping[str, int]) -> Iterator[str]:
    for path in sorted(listed.keys() & sizes.keys()):
        if sizes[path] != listed[path].bytes:
            yield f"{_printable(path)} has {sizes[path]:,} bytes instead of {listed[path].bytes:,}"
        elif _sha256(folder / path) != listed[path].sha256:
            yield f"{_printable(path)} was changed"


def _refuse(faults: list[str]) -> None:
    if faults:
        more = len(faults) - _MOST_NAMED
        named = "; ".join(faults[:_MOST_NAMED]) + (f"; and {more:,} more" if more > 0 else "")
        raise NotRestorable(f"the backup is not as it was saved, so nothing was restored: {named}")


def _read_list(file: Path) -> dict[str, _File]:
    try:
        with file.open(encoding="utf-8") as lines:
            entries = [json.loads(line) for line in lines]
        return {entry["path"]: _File(entry["bytes"], entry["sha256"]) for entry in entries}
    except (ValueError, TypeError, KeyError) as error:
        raise NotRestorable(f"the backup's {LIST} cannot be read; take another backup") from error


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `folder` but its folders, by relative path, without following any link."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    path = Path(entry.path).relative_to(folder).as_posix()
                    yield path, entry.stat(follow_symlinks=False)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _printable(path: str) -> str:
    return path if path.isprintable() else ascii(path)
