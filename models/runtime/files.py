"""Files and folders that appear whole or not at all."""

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
    """Open a file that replaces `target` when the block ends; no crash or power cut leaves a partial one.

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


def replace_folder(folder: Path, directory: Path) -> None:
    """Rename the complete `folder` to `directory`, which replaces an older one.
    Its bytes may not be on disk yet: whoever keeps the folder waits for them."""
    shutil.rmtree(directory, ignore_errors=True)
    folder.rename(directory)


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
