"""Disk space for uploads and downloads, which are temporary files on their way to or from the API."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "masktune-web-"
"""Prefix of the names of these temporary files and folders."""
ABANDONED_SECONDS = 86_400.0
"""Age after which a file that has not been written is taken as left over from a killed dashboard."""


class Room:
    """Space for temporary files: what is free on the disk, and at most `most` bytes (0: no limit).

    On a cluster, a pod sees the disk of its node but is evicted if it exceeds its own share.
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._held = 0

    @property
    def free(self) -> int:
        """Most bytes that another file may have."""
        disk = shutil.disk_usage(tempfile.gettempdir()).free
        return min(disk, max(0, self.most - self._held)) if self.most else disk

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Reserve `size` bytes while the block runs."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size


room = Room()


def clear_abandoned(folder: Path) -> None:
    """Remove files that an earlier dashboard left in this folder, since a volume outlives the process."""
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):  # deleted meanwhile, or owned by another user
            written = max(one.stat().st_mtime for one in (path, *path.glob("*")))
            if time.time() - written < ABANDONED_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
