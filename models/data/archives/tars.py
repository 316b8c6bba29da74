"""Tar streams, plain or compressed: read once from front to back, every decompressed byte counted.

What a header costs is bounded before it is read, and does not depend on what it claims. `tarfile` reads
one block of 512 bytes. What may precede it, long names and pax records, is read here: before Python
3.11.10 tarfile looks for pax records in quadratic time (CVE-2024-6232: 160,000 digits take 47 s); in every
version it follows such headers by recursion, and reads the map of a sparse file whatever its length.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import zstandard

from models.data.archives.guards import BLOCK, CHUNK, ArchiveError, Budget, Unpacking, quoted
from models.data.report import ProblemCode

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_EXTENDED_HEADER = 16 << 10  # bytes; an honest one has a path of at most 1,024 and a few attributes
_MAX_RECORDS = 64  # of a pax header: they cost 0.4 µs each, and a header of 16 KiB could have 3,200
_LENGTH_DIGITS = 5  # of a record within 16 KiB
_END = bytes(tarfile.BLOCKSIZE)

_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
# Global headers are read past: the files have names and sizes of their own (git puts a commit's id there).
_EXTENDED = (*_PAX, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
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


def _next_member(stream: IO[bytes], budget: Budget) -> tarfile.TarInfo | None:
    """The next file, folder, link or device, its extended headers applied; None at the block that ends a tar.

    Raises `ArchiveError`, and `tarfile.HeaderError` or ValueError for damage.
    """
    extended: dict[bytes, bytes] = {}
    while True:
        block = stream.read(tarfile.BLOCKSIZE)
        if block == _END and not extended:
            return None
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type not in _EXTENDED:
            _apply(extended, info)
            return info
        budget.spend(BLOCK)  # like an empty file: it takes as much time, and compresses to a few bytes
        if info.type in extended:
            raise _excessive("a file has two extended headers of one kind")
        extended[info.type] = _payload(stream, info.size)


def _payload(stream: IO[bytes], size: int) -> bytes:
    if not 0 <= size <= _MAX_EXTENDED_HEADER:
        raise _excessive("a name or header in the archive is too long")
    padded = stream.read(size + -size % tarfile.BLOCKSIZE)
    if len(padded) < size:
        raise tarfile.HeaderError("truncated extended header")
    return padded[:size]


def _apply(extended: Mapping[bytes, bytes], info: tarfile.TarInfo) -> None:
    """Give `info` the name and size in its extended headers. Targets of links are left: links are refused."""
    if (name := extended.get(tarfile.GNUTYPE_LONGNAME)) is not None:
        info.name = _text(name.partition(b"\0")[0])
    for kind in _PAX:
        records = _pax_records(extended.get(kind, b""))
        if any(key.startswith(b"GNU.sparse.") for key in records):
            info.type = tarfile.GNUTYPE_SPARSE
        if b"path" in records:
            info.name = _text(records[b"path"])
        if b"size" in records:
            info.size = int(records[b"size"])
    if info.size < 0:
        raise tarfile.HeaderError("negative size")


def _pax_records(payload: bytes) -> dict[bytes, bytes]:
    r"""The records `LENGTH KEY=VALUE\n` of a pax header (POSIX.1-2008, pax), in linear time.

    Raises `ArchiveError`, and ValueError for damage.
    """
    records: dict[bytes, bytes] = {}
    start = count = 0
    while start < len(payload):
        count += 1
        if count > _MAX_RECORDS:
            raise _excessive("a header in the archive has too many records")
        space = payload.index(b" ", start, start + _LENGTH_DIGITS + 1)
        end = start + int(payload[start:space])
        if not space < end <= len(payload) or payload[end - 1 : end] != b"\n":
            raise tarfile.HeaderError("invalid pax record")
        key, _, text = payload[space + 1 : end - 1].partition(b"=")
        records[key] = text
        start = end
    return records


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _excessive(what: str) -> ArchiveError:
    return ArchiveError(ProblemCode.BAD_NAME, f"{what}: pack the files again, without extended attributes")


Read = Callable[[int], bytes]  # so many of the next decompressed bytes
# the first bytes of a file → what decompresses it; the empty key is a plain tar
TAR_READERS: Mapping[bytes, Callable[[IO[bytes]], Read]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb").read,
    b"\x28\xb5\x2f\xfd": lambda file: (
        zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read
    ),
    b"": lambda file: file.read,
}


class _Counted(io.RawIOBase):
    """A stream whose every byte is charged to the budget, headers and padding included."""

    def __init__(self, read: Read, budget: Budget) -> None:
        self._read = read
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        chunk = self._read(len(view))
        self._budget.spend(len(chunk))
        view[: len(chunk)] = chunk
        return len(chunk)


def unpack_tar(archive: Path, unpacking: Unpacking, open_reader: Callable[[IO[bytes]], Read]) -> None:
    """Unpack every member. Raises `ArchiveError`."""
    with archive.open("rb") as file:
        stream = io.BufferedReader(_Counted(open_reader(file), unpacking.budget), CHUNK)
        try:
            while (info := _next_member(stream, unpacking.budget)) is not None:
                _unpack_member(stream, info, unpacking)
            while stream.read(CHUNK):
                pass  # to the end, so that the decompressor checks its sum
        except _DAMAGE as error:
            raise _damaged() from error


def _unpack_member(stream: IO[bytes], info: tarfile.TarInfo, unpacking: Unpacking) -> None:
    if info.issym() or info.islnk():
        raise ArchiveError(ProblemCode.LINK, f"{quoted(info.name)} is a link: put the file itself there")
    if info.type == tarfile.GNUTYPE_SPARSE or not (info.isreg() or info.isdir()):
        raise ArchiveError(
            ProblemCode.SPECIAL_FILE, f"{quoted(info.name)} is not a regular file: leave it out"
        )
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


def _damaged() -> ArchiveError:
    return ArchiveError(
        ProblemCode.DAMAGED_ARCHIVE, "the tar archive is truncated or damaged: pack and upload it again"
    )
