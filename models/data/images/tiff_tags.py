"""The tags of a TIFF or of EXIF data, which are one, as their directories state them: no value is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

SHORT = 3
FRACTIONS = frozenset({5, 10})
"""Types whose values PIL makes objects of: a million take 3 s and 0.3 GB."""
BYTES = frozenset({1, 2, 6, 7})
"""Types whose values PIL keeps as bytes: text, profiles and the like may be long."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_INLINE = 4  # bytes
_HEADS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0")
"""The last two are wrong, and PIL reads them."""
_EXIF_HEADS = re.compile(rb"(?:Exif\0\0){0,2}")


class TiffTag(NamedTuple):
    """A tag that states `length` values of a `kind`. `field` has them, or the place where they lie."""

    number: int
    kind: int
    length: int
    field: bytes


class TiffTags:
    """The tags of one file."""

    def __init__(self, tiff: bytes) -> None:
        self._tiff = tiff
        self._order: Literal["little", "big"] = "little" if tiff.startswith(b"II") else "big"

    @classmethod
    def of_exif(cls, exif: bytes) -> TiffTags:
        """Those of EXIF data as PIL has them: with a head before the TIFF, or with two."""
        head = _EXIF_HEADS.match(exif)
        return cls(exif[head.end() :] if head else exif)

    def first(self) -> Iterator[TiffTag]:
        """The first directory; nothing of what has no header of a TIFF."""
        if len(self._tiff) >= 8 and self._tiff.startswith(_HEADS):
            yield from self.at(int.from_bytes(self._tiff[4:8], self._order))

    def at(self, start: int) -> Iterator[TiffTag]:
        """The directory that starts there: as many tags as the file has of those that it counts."""
        count = int.from_bytes(self._tiff[start : start + 2], self._order)
        entries = self._tiff[start + 2 : start + 2 + 12 * count]
        layout = f"{'<' if self._order == 'little' else '>'}HHI4s"
        yield from map(TiffTag._make, struct.iter_unpack(layout, entries[: len(entries) // 12 * 12]))

    def integer(self, tag: TiffTag) -> int:
        """The first value of a tag of integers."""
        size = _SIZES.get(tag.kind, _INLINE)
        if size * tag.length <= _INLINE:
            return int.from_bytes(tag.field[:size], self._order)
        place = int.from_bytes(tag.field, self._order)
        return int.from_bytes(self._tiff[place : place + size], self._order)

    def has_values(self, tag: TiffTag) -> bool:
        """Whether the file has as many bytes as the tag states values: PIL skips it otherwise."""
        size = _SIZES.get(tag.kind, 0) * tag.length
        return size <= _INLINE or int.from_bytes(tag.field, self._order) + size <= len(self._tiff)
