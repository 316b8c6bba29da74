"""Zip files: the central directory is walked and bounded before Python's reader holds it in memory."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from models.data.archives.guards import CHUNK, ArchiveError, Budget, Unpacking, quoted
from models.data.report import ProblemCode

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_SIZE = 20
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL_HEADER_SIZE = 30  # without name and extra field
_MAX_COMMENT = 65_535

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


def unpack_zip(archive: Path, unpacking: Unpacking) -> None:
    """Unpack every entry. Raises `ArchiveError`."""
    with archive.open("rb") as file:
        try:
            directory = _find_directory(file)
            _walk_directory(file, directory, unpacking.budget)
            with zipfile.ZipFile(file) as opened:
                _require_disjoint(opened.infolist(), directory)
                for info in opened.infolist():
                    _unpack_entry(opened, info, unpacking)
        except _DAMAGE as error:
            raise _damaged() from error


def _unpack_entry(opened: zipfile.ZipFile, info: zipfile.ZipInfo, unpacking: Unpacking) -> None:
    name = info.orig_filename  # `filename` is cut at a NUL
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise ArchiveError(ProblemCode.LINK, f"{quoted(name)} is a link: put the file itself there")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(ProblemCode.SPECIAL_FILE, f"{quoted(name)} is not a regular file: leave it out")
    path = unpacking.admit(name, folder=info.is_dir())
    if path is None:
        return
    if info.is_dir():
        unpacking.make_folder(path)
        return
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(ProblemCode.ENCRYPTED, "the archive is encrypted: pack it without a password")
    if info.compress_type not in _COMPRESSIONS:
        raise ArchiveError(
            ProblemCode.UNSUPPORTED_COMPRESSION,
            f"{quoted(name)} is neither stored nor deflated: pack it again with the default compression",
        )
    if unpacking.write(path, _chunks(opened, info, unpacking.budget)) != info.file_size:
        raise _damaged()


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


def _require_disjoint(entries: list[zipfile.ZipInfo], directory: range) -> None:
    """Entries that share bytes are how a small zip unpacks to petabytes (Fifield, WOOT 2019)."""
    spans = sorted(
        (info.header_offset, info.header_offset + _LOCAL_HEADER_SIZE + info.compress_size) for info in entries
    )
    starts = [start for start, _ in spans[1:]] + [directory.start]
    if spans and spans[0][0] < 0:
        raise _damaged()
    for (_, end), following in zip(spans, starts, strict=False):
        if end > following:
            raise ArchiveError(
                ProblemCode.OVERLAPPING_ENTRIES, "entries of the archive overlap: pack it again"
            )


def _damaged() -> ArchiveError:
    return ArchiveError(
        ProblemCode.DAMAGED_ARCHIVE, "the zip archive is truncated or damaged: pack and upload it again"
    )
