"""Unpacking what a stranger packed: zip, tar, tar.gz and tar.zst, into an empty folder and nowhere else.

An archive is refused whole for anything that an honest one has no need of. Sizes are counted as
bytes come out of the decompressor; what the headers claim decides nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from models.data.archives.guards import ArchiveError, ArchiveLimits, Budget, Unpacking
from models.data.archives.tars import TAR_READERS, unpack_tar
from models.data.archives.zips import ZIP_MAGIC, unpack_zip, unpack_zip_file
from models.data.report import ProblemCode, Rejection

__all__ = ["ArchiveError", "ArchiveLimits", "Budget", "unpack", "unpack_around"]

_TAR_MAGIC = slice(257, 262)


def unpack(
    archive: Path,
    target: Path,
    limits: ArchiveLimits | None = None,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Rejection]:
    """Unpack into `target`, which must not exist yet; returns the junk that was left out.

    Raises `ArchiveError` for an archive that is refused, `ImportStopped` when `should_stop`
    says so, OSError when the disk fails; in every case `target` is gone again.
    """
    unpack_kind = _kind(archive)
    budget = Budget(limits or ArchiveLimits(), archive.stat().st_size, should_stop)
    return _unpack(target, budget, partial(unpack_kind, archive))


def unpack_around(
    file: IO[bytes], target: Path, budget: Budget, *, is_left: Callable[[PurePosixPath], bool]
) -> list[Rejection]:
    """The same of an open zip, but for the files that are left in it: a packed `zips.Member` stands in for
    each. Their claimed sizes are charged to the budget, and `zips.member_content` holds them to it."""
    return _unpack(target, budget, lambda unpacking: unpack_zip_file(file, unpacking, is_left))


def _unpack(target: Path, budget: Budget, unpack_all: Callable[[Unpacking], None]) -> list[Rejection]:
    target.mkdir(parents=True)
    unpacking = Unpacking(target, budget)
    try:
        unpack_all(unpacking)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return unpacking.junk


def _kind(archive: Path) -> Callable[[Path, Unpacking], None]:
    """How to unpack it, by its first bytes: a name proves nothing."""
    with archive.open("rb") as file:
        head = file.read(512)
    if head.startswith(ZIP_MAGIC):
        return unpack_zip
    for magic, reader in TAR_READERS.items():
        if magic and head.startswith(magic):
            return partial(unpack_tar, open_reader=reader)
    if head[_TAR_MAGIC] == b"ustar":
        return partial(unpack_tar, open_reader=TAR_READERS[b""])
    raise ArchiveError(
        ProblemCode.NOT_AN_ARCHIVE,
        "the file is not a zip, tar, tar.gz or tar.zst archive: pack the folder as one of these",
    )
