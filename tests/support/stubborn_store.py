"""An object store that does not delete."""

from __future__ import annotations

from fsspec.implementations.memory import MemoryFileSystem


class StubbornStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store whose deletions fail while it is `stuck`, as if it were unavailable.

    `stuck` may also be a substring of the paths that it does not delete.
    """

    protocol = "stubborn"
    stuck: bool | str = False
    refused = 0

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._refuse(path)
        super().rm(path, recursive=recursive, maxdepth=maxdepth)

    def rm_file(self, path: str) -> None:
        self._refuse(path)
        super().rm_file(path)

    def _refuse(self, path: str) -> None:
        kind = type(self)
        if kind.stuck is True or (kind.stuck and kind.stuck in path):
            kind.refused += 1
            raise ConnectionError("the store is away")
