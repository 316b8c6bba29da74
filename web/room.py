"""Room for the files that pass through: they lie among the temporary files until the API has them."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "masktune-web-"
"""Of the names of such files and folders."""
ABANDONED_SECONDS = 86_400.0
"""Not written for so long: of a dashboard that was killed."""


class Room:
    """What the disk has, or fewer bytes where no more than `most` were given: 0 is any number.

    A cluster tells a pod of its node's disk, and ends the pod that goes beyond its own share.
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._held = 0

    @property
    def free(self) -> int:
        """Bytes that another file may have."""
        disk = shutil.disk_usage(tempfile.gettempdir()).free
        return min(disk, max(0, self.most - self._held)) if self.most else disk

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """A file of that size is there, or will be, while the block runs."""
        self._held += size
        try:
            yield
        finally:
            self._held -= size


room = Room()


def clear_abandoned(folder: Path) -> None:
    """Remove what an earlier dashboard left in this folder: a volume outlives the process."""
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            written = max(one.stat().st_mtime for one in (path, *path.glob("*")))
            if time.time() - written < ABANDONED_SECONDS:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
