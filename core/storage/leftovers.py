"""Folders left half-written by killed processes, recognised by having been unchanged for a day."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

ABANDONED_SECONDS = 86_400.0


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove the folders unchanged for a day; another process may still be working in more recent ones."""
    for folder in folders:
        if time.time() - _changed(folder) > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _changed(folder: Path) -> float:
    """The time of the last change in the folder; the current time if the folder vanished meanwhile."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()
