"""Writes a zip while it is sent: entries as they are, without compression, in constant memory.

Python's `zipfile` keeps an object per entry until the end, 0.5 GB for a million images, and cannot state the
sizes in front of the content unless it may seek. Records as in PKWARE's APPNOTE 6.3.10, 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import NamedTuple, Self

BLOCK = 1 << 20
"""Bytes of a block, at least; only the last is smaller."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_MOST16, _MOST32 = 0xFFFF, 0xFFFFFFFF  # where a field has this, zip64 has the number
_VERSION = 45  # the first with zip64
_MADE_BY = 3 << 8 | _VERSION  # on Unix, so that the attributes are those of a Unix file
_UTF_8_NAME = 0x800
_TIME, _DATE = 0, 1 << 5 | 1  # 1 January 1980, so that the same files give the same bytes
_ATTRIBUTES = 0o100644 << 16


class Entry(NamedTuple):
    """A file of the archive: its name, its size and CRC-32, and a function that begins its content anew."""

    name: str
    size: int
    crc: int
    content: Callable[[], Iterable[bytes]]

    @classmethod
    def of(cls, name: str, content: Callable[[], Iterable[bytes]]) -> Self:
        """An entry whose content is read once for its size and CRC-32, and again when it is sent."""
        size = crc = 0
        for block in content():
            size, crc = size + len(block), zlib.crc32(block, crc)
        return cls(name, size, crc, content)


def stored_zip(entries: Iterable[Entry]) -> Generator[bytes, None, None]:
    """The archive in blocks. The list of its entries is kept on disk once it is longer than a block."""
    with SpooledTemporaryFile(max_size=BLOCK) as directory:
        pending, length = list[bytes](), 0
        for piece in _pieces(entries, directory):
            pending.append(piece)
            length += len(piece)
            if length >= BLOCK:
                yield b"".join(pending) if len(pending) > 1 else piece
                pending, length = [], 0
        yield b"".join(pending)


def _pieces(entries: Iterable[Entry], directory: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    count = offset = 0
    for entry in entries:
        name = entry.name.encode()
        common = (_UTF_8_NAME, 0, _TIME, _DATE, entry.crc, *_most([entry.size] * 2), len(name))
        extra = _extra(entry.size, entry.size)
        yield _LOCAL.pack(b"PK\3\4", _VERSION, *common, len(extra)) + name + extra
        yield from entry.content()
        here = _extra(entry.size, entry.size, offset)
        place = (len(here), 0, 0, 0, _ATTRIBUTES, *_most([offset]))
        directory.write(_CENTRAL.pack(b"PK\1\2", _MADE_BY, _VERSION, *common, *place) + name + here)
        offset += _LOCAL.size + len(name) + len(extra) + entry.size
        count += 1
    size = directory.tell()
    directory.seek(0)
    yield from iter(partial(directory.read, BLOCK), b"")
    # Readers may ignore the zip64 records where the last one holds all numbers: they are always there.
    yield _END64.pack(b"PK\6\6", _END64.size - 12, _MADE_BY, _VERSION, 0, 0, count, count, size, offset)
    yield _LOCATOR64.pack(b"PK\6\7", 0, offset + size, 1)
    yield _END.pack(b"PK\5\6", 0, 0, *[min(count, _MOST16)] * 2, *_most([size, offset]), 0)


def _most(numbers: Iterable[int]) -> list[int]:
    return [min(number, _MOST32) for number in numbers]


def _extra(*numbers: int) -> bytes:
    """The extra field with the numbers that have no room in a header."""
    large = [number for number in numbers if number >= _MOST32]
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""
