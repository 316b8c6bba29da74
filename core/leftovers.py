"""Folders that killed processes left half-made: known by that nothing in them has changed for a day."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

ABANDONED_SECONDS = 86_400.0


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove those in which nothing changed for a day. Fresher ones may be another process's, at work."""
    for folder in folders:
        if time.time() - _changed(folder) > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _changed(folder: Path) -> float:
    """When something was last written there; a folder that vanished meanwhile was changed just now."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()
