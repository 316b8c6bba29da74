"""Zip files: the central directory is walked and bounded before Python's reader holds it in memory."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, Self

from models.data.archives.guards import (
    CHUNK,
    ArchiveError,
    Budget,
    Unpacking,
    quoted,
    require_no_archive,
)
from models.data.report import ProblemCode

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_SIZE = 20
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")  # without name and extra field
_MEMBER = struct.Struct("<H3QL")
_MAX_COMMENT = 65_535  # bytes; of a name and of an extra field as well

# bzip2 and lzma are left out: zipfile decompresses them without a bound on what one read gives.
_COMPRESSIONS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
_ENCRYPTED = 0x1

# zipfile's answers to damage; OSError is not among them, since a full disk is not the archive's fault.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    ArithmeticError,
    LookupError,
)


class Member(NamedTuple):
    """A file of an archive: the bytes `start` to `stop`, from its local header on, and what its content is to
    be. Its packed form begins with no archive's magic."""

    method: int
    start: int
    stop: int
    size: int
    crc: int

    @classmethod
    def of(cls, stand_in: bytes) -> Self:
        """From what stands in for the file."""
        return cls(*_MEMBER.unpack_from(stand_in))


def unpack_zip(archive: Path, unpacking: Unpacking) -> None:
    """Unpack every entry. Raises `ArchiveError`."""
    with archive.open("rb") as file:
        unpack_zip_file(file, unpacking, lambda _: False)


def unpack_zip_file(file: IO[bytes], unpacking: Unpacking, is_left: Callable[[PurePosixPath], bool]) -> None:
    """Unpack every entry; for those that are left, write the packed `Member`. Raises `ArchiveError`."""
    try:
        directory = _find_directory(file)
        _walk_directory(file, directory, unpacking.budget)
        with zipfile.ZipFile(file) as opened:
            starts = _require_disjoint(opened.infolist(), directory)
            for info in opened.infolist():
                path = _admitted(info, unpacking)
                if path is None:
                    continue
                if is_left(path):
                    unpacking.budget.spend(info.file_size)
                    unpacking.write(path, [_MEMBER.pack(*_member(info, starts))])
                elif unpacking.write(path, _chunks(opened, info, unpacking.budget)) != info.file_size:
                    raise _damaged()
    except _DAMAGE as error:
        raise _damaged() from error


def _member(info: zipfile.ZipInfo, starts: Sequence[int]) -> Member:
    """The entry, up to the next of the `starts`, and no further than an honest one of its size."""
    start, size = info.header_offset, info.file_size
    honest = start + _LOCAL.size + 2 * _MAX_COMMENT + size + size // 512 + 64  # deflate adds 5 bytes a block
    stop = min(starts[bisect_right(starts, start)], honest)
    return Member(info.compress_type, start, stop, size, info.CRC)


def member_content(stand_in: bytes, path: PurePosixPath) -> bytes:
    """The file at this path, from its packed `Member` and, behind it, its bytes in the archive.
    Holds it against the same guards as unpacking does. Raises `ArchiveError`."""
    try:
        member = Member.of(stand_in)
        signature, *_, name, extra = _LOCAL.unpack_from(stand_in, _MEMBER.size)
        content = stand_in[_MEMBER.size + _LOCAL.size + name + extra :]
        if member.method == zipfile.ZIP_DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.size + 1)
        else:
            content = content[: member.size]
    except _DAMAGE as error:
        raise _damaged() from error
    as_listed = len(content) == member.size and zlib.crc32(content) == member.crc
    if signature != ZIP_MAGIC[0] or not as_listed:
        raise _damaged()
    require_no_archive(path, content)
    return content


def _admitted(info: zipfile.ZipInfo, unpacking: Unpacking) -> PurePosixPath | None:
    """The path of a file to write; a folder is made. Raises `ArchiveError`."""
    name = info.orig_filename  # `filename` is cut at a NUL
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise ArchiveError(ProblemCode.LINK, f"{quoted(name)} is a link: put the file itself there")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(ProblemCode.SPECIAL_FILE, f"{quoted(name)} is not a regular file: leave it out")
    path = unpacking.admit(name, folder=info.is_dir())
    if path is None:
        return None
    if info.is_dir():
        unpacking.make_folder(path)
        return None
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(ProblemCode.ENCRYPTED, "the archive is encrypted: pack it without a password")
    if info.compress_type not in _COMPRESSIONS:
        raise ArchiveError(
            ProblemCode.UNSUPPORTED_COMPRESSION,
            f"{quoted(name)} is neither stored nor deflated: pack it again with the default compression",
        )
    return path


def _chunks(opened: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> Iterator[bytes]:
    with opened.open(info) as stream:
        while chunk := stream.read(CHUNK):
            budget.spend(len(chunk))
            yield chunk


def _find_directory(file: IO[bytes]) -> range:
    """Where the central directory lies in the file, in bytes.

    As zipfile looks for it (APPNOTE 4.3.14–16), so that both read the same one.
    """
    size = file.seek(0, io.SEEK_END)
    tail_start = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    plain = len(tail) - _END.size
    is_at_end = tail[plain : plain + 4] == b"PK\x05\x06" and tail[-2:] == b"\0\0"
    position = plain if is_at_end else tail.rfind(b"PK\x05\x06")
    if position < 0 or len(tail) - position < _END.size:
        raise _damaged()
    _, _, _, _, _, length, _, _ = _END.unpack_from(tail, position)
    end = tail_start + position
    end64 = end - _LOCATOR_SIZE - _END64.size
    if end64 >= 0:
        file.seek(end - _LOCATOR_SIZE)
        if file.read(4) == b"PK\x06\x07":
            file.seek(end64)
            signature, *_, length64, _ = _END64.unpack(file.read(_END64.size))
            if signature != b"PK\x06\x06":
                raise _damaged()
            length, end = length64, end64
    if length > end:
        raise _damaged()
    return range(end - length, end)


def _walk_directory(file: IO[bytes], directory: range, budget: Budget) -> None:
    """Count the entries in constant memory, before zipfile makes an object of each."""
    position, count = directory.start, 0
    while position < directory.stop:
        file.seek(position)
        entry = file.read(_ENTRY.size)
        if len(entry) < _ENTRY.size or not entry.startswith(b"PK\x01\x02"):
            raise _damaged()
        fields = _ENTRY.unpack(entry)
        position += _ENTRY.size + sum(fields[10:13])  # name, extra field, comment
        count += 1
        if count > budget.limits.max_entries:
            raise ArchiveError(
                ProblemCode.TOO_MANY_ENTRIES,
                f"the archive has more than {budget.limits.max_entries} entries: split it",
            )


def _require_disjoint(entries: list[zipfile.ZipInfo], directory: range) -> list[int]:
    """Entries that share bytes are how a small zip unpacks to petabytes (Fifield, WOOT 2019).
    Returns where each but the first begins, in order, and where the last ends at most."""
    spans = sorted(
        (info.header_offset, info.header_offset + _LOCAL.size + info.compress_size) for info in entries
    )
    starts = [start for start, _ in spans[1:]] + [directory.start]
    if spans and spans[0][0] < 0:
        raise _damaged()
    for (_, end), following in zip(spans, starts, strict=False):
        if end > following:
            raise ArchiveError(
                ProblemCode.OVERLAPPING_ENTRIES, "entries of the archive overlap: pack it again"
            )
    return starts


def _damaged() -> ArchiveError:
    return ArchiveError(
        ProblemCode.DAMAGED_ARCHIVE, "the zip archive is truncated or damaged: pack and upload it again"
    )
