"""Bounds of the parts of an image file: one takes a few bytes of the file, and far more time or memory.

Decoders have no such bounds, or only warn, and nobody can stop them: they go on after the client has left.
All times are of one core with Pillow 13.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np

from models.data.images.tiff_tags import BYTES, FRACTIONS, TiffTag, TiffTags

MAX_SCANS = 100
"""Most scans per JPEG, libtiff's limit for the JPEGs inside a TIFF; progressive encoders write about ten."""
MAX_SEGMENTS = 10_000
"""Most segments per JPEG; 32 MB of metadata fill 500."""
MAX_CHUNKS = 10_000
"""Most chunks per PNG; libpng fills 4,100 with 32 MB of pixels."""
MAX_INFLATED = 100
"""Most chunks per PNG with compressed text or a colour profile; editors write a handful."""
MAX_VALUES = 65_536
"""Most numbers under one tag of a TIFF; no other type holds a picture with more rows to make strips of."""
MAX_FRACTIONS = 1000
"""Most fractions under one tag of a TIFF or of EXIF data, and most numbers in a directory of EXIF data in a
TIFF, which PIL decodes whole: cameras write a few dozen."""
MAX_EXIF = 4 << 20
"""Most bytes of EXIF data per JPEG, which PIL copies once for each segment; cameras write one, of 64 KB."""
_FREE_READS = 50_000
"""PIL reads a chunk or a segment by four reads, so that only their own bounds are ever met."""
_BYTES_PER_READ = 64
"""A file has one more read for each of these: PIL reads the blocks of a GIF, of 255 bytes, by two reads."""

_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# The markers after which libjpeg reads a length, and both ends of an image. It skips others within a scan.
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
_ARITHMETIC_FRAMES = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PNG_SIGNATURE = 8  # bytes
_CHUNK = struct.Struct(">I4s")
_SUM = 4  # bytes
_INFLATED = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_LISTS = frozenset({273, 320, 324})
"""Tags of TIFF that PIL makes a list of even if they are bytes: strips, colours, tiles."""
_RESOLUTIONS = frozenset({0x011A, 0x0128})
"""Tags of EXIF data that PIL decodes as soon as it opens a JPEG."""
_DIRECTORIES = frozenset({34665, 34853, 40965})
"""Tags of TIFF that say where EXIF data lie: of the camera, of the place, of the file system."""
_EXIF = b"Exif\0\0"


class TooFewBytes(Exception):
    """The file is too small for the pixels that its header claims."""


class TooManyParts(Exception):
    """The image has more parts than any encoder writes; the text says which."""

    def __init__(self, parts: str) -> None:
        super().__init__(f"has more than {parts}, which no encoder writes: export it again")


class CountedFile(BytesIO):
    """An image that PIL may read in few pieces only.
    Raises `TooManyParts`.

    PIL reads a GIF block by block, and what is none byte by byte: 32 MB held a decoder for 4 s.
    """

    def __init__(self, encoded: bytes, most: int | None = None) -> None:
        """`most` reads, by default as many as PIL needs for the file's size."""
        super().__init__(encoded)
        self._most = self._left = most or _FREE_READS + len(encoded) // _BYTES_PER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise TooManyParts(f"{self._most} parts for its size")
        return super().read(size)


def require_few_parts(encoded: bytes, kind: str) -> None:
    """Check what can be counted before a decoder starts. Raises `TooManyParts`."""
    if kind == "JPEG":
        _require_few_scans(encoded)
        _require_little_exif(encoded)
    elif kind == "PNG":
        _require_few_chunks(encoded)
    elif kind == "TIFF":
        _require_few_values(encoded)


def require_enough_bytes(encoded: bytes, kind: str, pixels: int) -> None:
    """Check a JPEG that has been opened.
    Raises `TooFewBytes`.

    A Huffman code has at least one bit, and every 8×8 block of the component with all pixels has at least one
    code. libjpeg makes up what is missing, and only warns. Arithmetic codes have no such bound.
    """
    if kind == "JPEG" and 8 * len(encoded) < pixels // 64 and not _is_arithmetic(encoded):
        raise TooFewBytes


def _is_arithmetic(encoded: bytes) -> bool:
    """By the frame's marker, which stands before the first scan."""
    for kind, _, _ in _segments(encoded):
        if kind == _SOS:
            break
        if kind in _ARITHMETIC_FRAMES:
            return True
    return False


def _require_few_scans(encoded: bytes) -> None:
    """Bound what a small JPEG can cost; libjpeg itself only warns.

    A repeated scan takes 12 bytes in the file, and 24 ms in libjpeg at 64 million pixels. An empty segment
    before the first scan takes 4 bytes in the file, and 160 bytes of PIL's memory.
    """
    few = _most_scans(encoded) <= MAX_SCANS
    scans = 0
    for count, (kind, _, _) in enumerate(_segments(encoded), start=1):
        if (kind == _EOI and scans) or (kind == _SOS and few):  # PIL reads on to the first scan
            return
        scans += kind == _SOS
        if scans > MAX_SCANS or count > MAX_SEGMENTS:
            raise TooManyParts(f"{MAX_SCANS} scans or {MAX_SEGMENTS} segments")


def _require_little_exif(encoded: bytes) -> None:
    """Bound a JPEG's EXIF data, and those tags of them that PIL decodes: four million fractions took 13 s and
    1.2 GB."""
    exif: list[bytes] = []
    for kind, start, end in _segments(encoded):
        if kind == _SOS:
            break
        if kind == _APP1 and encoded.startswith(_EXIF, start + 2):
            exif.append(encoded[start + 2 + len(_EXIF) : end])
    if sum(map(len, exif)) > MAX_EXIF:
        raise TooManyParts(f"{MAX_EXIF} bytes of EXIF data")
    tags = TiffTags.of_exif(b"".join(exif))
    for tag in tags.first():
        many = tag.length > MAX_FRACTIONS and tag.kind not in BYTES
        if many and tag.number in _RESOLUTIONS and tags.has_values(tag):
            raise TooManyParts(f"{MAX_FRACTIONS} numbers for its resolution")


def _segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """The kind of each segment of a JPEG, where it starts behind its marker, and where it ends."""
    at = 0
    while (marker := _JPEG_MARKER.search(encoded, at)) is not None:
        kind, start = marker[1][0], marker.end()
        at = start if kind == _SOI else start + int.from_bytes(encoded[start : start + 2])
        yield kind, start, at


def _most_scans(encoded: bytes) -> int:
    """An upper bound: occurrences of the marker anywhere. Ten times as fast as `bytes.count`."""
    pairs = (np.frombuffer(encoded, "<u2", (len(encoded) - first) // 2, first) for first in (0, 1))
    return sum(int(np.count_nonzero(pair == 0xDAFF)) for pair in pairs)


def _require_few_chunks(encoded: bytes) -> None:
    """Bound what a small PNG can cost, before the pixels and behind them.

    An empty chunk takes 12 bytes in the file, and 3 µs and 90 bytes of memory in PIL. A compressed one takes
    1 KB in the file, and 2 ms to inflate up to PIL's limit of 1 MiB, which counts no profiles and no damaged
    texts.
    """
    chunks = inflated = 0
    at = _PNG_SIGNATURE
    while at + _CHUNK.size <= len(encoded):
        length, name = _CHUNK.unpack_from(encoded, at)
        if name == b"IEND":
            return
        at += _CHUNK.size + length + _SUM
        chunks += 1
        inflated += name in _INFLATED
        if chunks > MAX_CHUNKS or inflated > MAX_INFLATED:
            raise TooManyParts(f"{MAX_CHUNKS} chunks or {MAX_INFLATED} compressed ones")


def _require_few_values(encoded: bytes) -> None:
    """Bound the strips or tiles of a TIFF, its other lists of numbers and its EXIF data.

    A strip takes 8 bytes in the file, and 11 µs and 340 bytes of memory in PIL.
    """
    tags = TiffTags(encoded)
    for tag in tags.first():
        if tag.length > MAX_VALUES and (tag.kind not in BYTES or tag.number in _LISTS):
            raise TooManyParts(f"{MAX_VALUES} strips, tiles or other numbers under one tag")
        if tag.length > MAX_FRACTIONS and tag.kind in FRACTIONS:
            raise TooManyParts(f"{MAX_FRACTIONS} fractions under one tag")
        if tag.number in _DIRECTORIES:
            numbers = list(_numbers(tags, tag, depth=len(_DIRECTORIES)))
            if sum(numbers) > MAX_FRACTIONS:
                raise TooManyParts(f"{MAX_FRACTIONS} numbers in its EXIF data")


def _numbers(tags: TiffTags, directory: TiffTag, depth: int) -> Iterator[int]:
    """How many numbers, at least one, are under each tag of a directory, and of those in it."""
    for tag in tags.at(tags.integer(directory)):
        yield 1 if tag.kind in BYTES else tag.length
        if tag.number in _DIRECTORIES and depth:
            yield from _numbers(tags, tag, depth - 1)
