"""Tar streams, plain or compressed: read once from front to back, every decompressed byte counted."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import zstandard

from models.data.archives.guards import CHUNK, ArchiveError, Budget, Unpacking, quoted
from models.data.archives.tar_headers import next_member
from models.data.report import ProblemCode

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The answers of tarfile and the decompressors to damage; a plain OSError is the disk's.
_DAMAGE = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    zstandard.ZstdError,
    struct.error,
    EOFError,
    ValueError,
    ArithmeticError,
    LookupError,
)


class _Reader(Protocol):
    """What a decompressed stream has to offer."""

    def read(self, size: int = -1, /) -> bytes: ...


def _zstd(file: IO[bytes]) -> _Reader:
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)


def _gzip(file: IO[bytes]) -> _Reader:
    return gzip.GzipFile(fileobj=file, mode="rb")


# the first bytes of a file → what decompresses it; the empty key is a plain tar
TAR_READERS: Mapping[bytes, Callable[[IO[bytes]], _Reader]] = {
    b"\x1f\x8b": _gzip,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"": lambda file: file,
}


class _Counted(io.RawIOBase):
    """A stream whose every byte is charged to the budget, headers and padding included."""

    def __init__(self, reader: _Reader, budget: Budget) -> None:
        self._reader = reader
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        chunk = self._reader.read(len(view))
        self._budget.spend(len(chunk))
        view[: len(chunk)] = chunk
        return len(chunk)


def unpack_tar(archive: Path, unpacking: Unpacking, open_reader: Callable[[IO[bytes]], _Reader]) -> None:
    """Unpack every member. Raises `ArchiveError`."""
    with archive.open("rb") as file:
        stream = io.BufferedReader(_Counted(open_reader(file), unpacking.budget), CHUNK)
        try:
            while (info := next_member(stream, unpacking.budget)) is not None:
                _unpack_member(stream, info, unpacking)
            while stream.read(CHUNK):
                pass  # to the end, so that the decompressor checks its sum
        except _DAMAGE as error:
            raise _damaged() from error


def _unpack_member(stream: IO[bytes], info: tarfile.TarInfo, unpacking: Unpacking) -> None:
    if info.issym() or info.islnk():
        raise ArchiveError(ProblemCode.LINK, f"{quoted(info.name)} is a link: put the file itself there")
    if info.type == tarfile.GNUTYPE_SPARSE or not (info.isreg() or info.isdir()):
        raise _special(info.name)
    path = unpacking.admit(info.name, folder=info.isdir())
    if info.isdir():
        if path is not None:
            unpacking.make_folder(path)
        return
    content = _chunks(stream, info.size)
    if path is not None:
        unpacking.write(path, content)
    for _ in content:
        pass  # of junk; nothing is left of a file that was written
    stream.read(-info.size % tarfile.BLOCKSIZE)


def _chunks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = stream.read(min(size, CHUNK))
        if not chunk:
            raise _damaged()
        size -= len(chunk)
        yield chunk


def _special(name: str) -> ArchiveError:
    return ArchiveError(ProblemCode.SPECIAL_FILE, f"{quoted(name)} is not a regular file: leave it out")


def _damaged() -> ArchiveError:
    return ArchiveError(
        ProblemCode.DAMAGED_ARCHIVE, "the tar archive is truncated or damaged: pack and upload it again"
    )
