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

from models.data.archives.guards import CHUNK, ArchiveError, Budget, Unpacking, shown
from models.data.report import ProblemCode

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_EXTENDED_HEADER = 1 << 20  # bytes: tarfile reads these headers whole, whatever size they claim
_EXTENDED = frozenset(
    (
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    )
)

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
        data = self._reader.read(len(view))
        self._budget.spend(len(data))
        view[: len(data)] = data
        return len(data)

    def drain(self) -> None:
        """Read to the end, so that the decompressor checks its sum."""
        while self.read(CHUNK):
            pass


class _EndSeen:
    """Whether the block of zeros that ends a whole tar has come by."""

    def __init__(self) -> None:
        self.value = False


def _guarded(end: _EndSeen, budget: Budget) -> type[tarfile.TarInfo]:
    """A TarInfo that looks at each header block before tarfile acts on what it claims."""

    class Guarded(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Guarded:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                end.value = True
            info = super().frombuf(buf, encoding, errors)
            if info.type in _EXTENDED:
                budget.entry()
                if info.size > _MAX_EXTENDED_HEADER:
                    raise ArchiveError(
                        ProblemCode.BAD_NAME, "a name or header in the archive is too long: shorten it"
                    )
            if info.size < 0:
                raise _damaged()
            if info.type == tarfile.GNUTYPE_SPARSE:
                raise _special(info.name)
            return info

        def _proc_gnusparse_10(self, *args: object) -> None:
            # its map of holes would be read into memory whatever its length
            raise _special(self.name)

    return Guarded


def unpack_tar(archive: Path, unpacking: Unpacking, open_reader: Callable[[IO[bytes]], _Reader]) -> None:
    """Unpack every member. Raises `ArchiveError`."""
    end = _EndSeen()
    with archive.open("rb") as file:
        stream = _Counted(open_reader(file), unpacking.budget)
        try:
            with tarfile.open(
                fileobj=stream,
                mode="r|",
                bufsize=CHUNK,
                tarinfo=_guarded(end, unpacking.budget),
            ) as opened:
                while (info := opened.next()) is not None:
                    _unpack_member(opened, info, unpacking)
                    opened.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it; else all stay in memory
            stream.drain()
        except _DAMAGE as error:
            raise _damaged() from error
    if not end.value:
        raise _damaged()


def _unpack_member(opened: tarfile.TarFile, info: tarfile.TarInfo, unpacking: Unpacking) -> None:
    if info.issym() or info.islnk():
        raise ArchiveError(ProblemCode.LINK, f"{shown(info.name)} is a link: put the file itself there")
    if info.issparse() or not (info.isreg() or info.isdir()):
        raise _special(info.name)
    path = unpacking.admit(info.name, folder=info.isdir())
    if path is None:
        return
    if info.isdir():
        unpacking.make_folder(path)
        return
    content = opened.extractfile(info)
    assert content is not None  # it is a regular file
    if unpacking.write(path, _chunks(content)) != info.size:
        raise _damaged()


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(CHUNK):
        yield chunk


def _special(name: str) -> ArchiveError:
    return ArchiveError(ProblemCode.SPECIAL_FILE, f"{shown(name)} is not a regular file: leave it out")


def _damaged() -> ArchiveError:
    return ArchiveError(
        ProblemCode.DAMAGED_ARCHIVE, "the tar archive is truncated or damaged: pack and upload it again"
    )
