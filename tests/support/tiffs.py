"""TIFF files and EXIF data, which are one, tag by tag; and images that have such data."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

from PIL import Image

SHORT, LONG, FRACTION = 3, 4, 5
ORIENTATION, X_RESOLUTION, RESOLUTION_UNIT, EXIF_DIRECTORY = 0x0112, 0x011A, 0x0128, 34665

Tag = tuple[int, int, int, bytes]
"""Its number, its type, the count that it states, and the bytes of its values."""


def tiff(tags: Sequence[Tag], directory: Sequence[Tag] = ()) -> bytes:
    """A file of these tags, and of an EXIF directory with those of `directory`, if there are any."""
    if directory:
        tags = (*tags, (EXIF_DIRECTORY, LONG, 1, bytes(4)))
    head = b"II*\0" + struct.pack("<I", 8)
    first = _directory(tags, start=len(head))
    if not directory:
        return head + first
    place = struct.pack("<I", len(head) + len(first))
    first = _directory((*tags[:-1], (EXIF_DIRECTORY, LONG, 1, place)), start=len(head))
    return head + first + _directory(directory, start=len(head) + len(first))


def fractions(number: int, count: int) -> Tag:
    """A tag of the fractions 6 / 1."""
    return number, FRACTION, count, struct.pack("<II", 6, 1) * count


def orientation(turn: int) -> Tag:
    """The tag as cameras write it."""
    return ORIENTATION, SHORT, 1, struct.pack("<H", turn)


def grey_picture() -> tuple[Tag, ...]:
    """The tags of a picture of 16×12 grey pixels."""
    numbers = {256: 16, 257: 12, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 12, 279: 16 * 12}
    return tuple((number, LONG, 1, struct.pack("<I", value)) for number, value in numbers.items())


def tiff_of_strips(rows: int, order: str = "<", kind: int = LONG) -> bytes:
    """A grey TIFF, 8 px wide, each row a strip; all of them lie at the same place."""
    at = 8 + 2 + 9 * 12 + 4
    tags = [
        *((256, SHORT, 1, 8), (257, LONG, 1, rows), (258, SHORT, 1, 8), (259, SHORT, 1, 1)),
        *((262, SHORT, 1, 1), (273, kind, rows, at), (277, SHORT, 1, 1), (278, SHORT, 1, 1)),
        (279, LONG, rows, at + 4 * rows),
    ]
    # A short stands in the first two of the four bytes of its value.
    entries = (
        struct.pack(f"{order}HHIHH", *tag, 0) if tag[1] == SHORT else struct.pack(f"{order}HHII", *tag)
        for tag in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + b"".join(entries) + bytes(4) + struct.pack(f"{order}I", 8) * 2 * rows


def png_with(exif: bytes) -> bytes:
    """A picture of 16×12 pixels with EXIF data."""
    png = _picture("PNG")
    chunk = b"eXIf" + exif
    at = png.index(b"IDAT") - 4
    return png[:at] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[at:]


def webp_with(exif: bytes) -> bytes:
    """The same, as WebP."""
    return _picture("WEBP", exif=exif)


def jpeg_with(exif: bytes) -> bytes:
    """The same, as JPEG without a head of JFIF, in as many segments as it takes."""
    jpeg = _picture("JPEG")
    (length,) = struct.unpack_from(">H", jpeg, 4)
    parts = (b"Exif\0\0" + exif[at : at + 65_000] for at in range(0, len(exif), 65_000))
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)
    return jpeg[:2] + segments + jpeg[4 + length :]


def _directory(tags: Sequence[Tag], start: int) -> bytes:
    entries, values = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for number, kind, count, content in tags:
        field = content.ljust(4, b"\0")
        if len(content) > 4:
            field = struct.pack("<I", behind + len(values))
            values += content
        entries += struct.pack("<HHI4s", number, kind, count, field)
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


def _picture(format: str, **options: object) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 12), (200, 30, 30)).save(buffer, format, **options)
    return buffer.getvalue()
