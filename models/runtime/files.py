"""Files and folders that appear whole or not at all, also after a power cut."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `target` when the block ends, so that no crash leaves a partial `target`.

    If the block or the disk fails, nothing is left behind.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(target)
    sync(target.parent)


def hidden_sibling(directory: Path) -> Path:
    """Create a folder beside `directory`, on the same disk, that `sweep_siblings` will find."""
    folder = directory.parent / f".{directory.name}.partial-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    return folder


def sweep_siblings(directory: Path) -> None:
    """Remove what a killed process left beside `directory`."""
    for leftover in directory.parent.glob(f".{glob.escape(directory.name)}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def publish(folder: Path, directory: Path) -> None:
    """Rename the complete `folder` to `directory` once its bytes are on disk, replacing an older one."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)
    if directory.exists():
        old = hidden_sibling(directory)
        directory.rename(old / "replaced")
        folder.rename(directory)
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(directory)
    sync(directory.parent)


def bytes_below(path: Path) -> int:
    """The size of a file, or of all files below a folder; links are not followed."""
    files = (path, *path.rglob("*")) if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def sync(path: Path) -> None:
    """Wait until the file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
