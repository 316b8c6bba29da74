"""Unpacking what a stranger packed: zip, tar, tar.gz and tar.zst, into an empty folder and nowhere else.

An archive is refused whole for anything that an honest one has no need of. Sizes are counted as
bytes come out of the decompressor; what the headers claim decides nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from models.data.archives.guards import ArchiveError, ArchiveLimits, Budget, Unpacking
from models.data.archives.tars import TAR_READERS, unpack_tar
from models.data.archives.zips import unpack_zip
from models.data.report import ProblemCode, Rejection

__all__ = ["ArchiveError", "ArchiveLimits", "Budget", "unpack"]

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
    limits = limits or ArchiveLimits()
    unpack_kind = _kind(archive)
    target.mkdir(parents=True)
    try:
        unpacking = Unpacking(target, Budget(limits, archive.stat().st_size, should_stop))
        unpack_kind(archive, unpacking)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return unpacking.junk


def _kind(archive: Path) -> Callable[[Path, Unpacking], None]:
    """How to unpack it, by its first bytes: a name proves nothing."""
    with archive.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
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
