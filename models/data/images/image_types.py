"""The types of image that the service reads: their names, their first bytes, and how a store keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping

TYPES: Mapping[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
}
"""suffix → type, as PIL names it. No other decoder is ever tried (EPS, for one, starts a program)."""
MEDIA_TYPES: Mapping[str, str] = {
    name: "application/dicom" if name == "DICOM" else f"image/{name.lower()}"
    for name in sorted(set(TYPES.values()))
}
STORED_AS_PNG = frozenset({"DICOM", "HEIF"})
"""Types that no browser shows, and whose header may name a person or a place."""

_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb".{128}DICM", re.DOTALL), "DICOM"),  # first, since it may start as a TIFF
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "TIFF"),
    (re.compile(rb"....ftyp(hei[cxms]|hev[cx]|m[is]f1)", re.DOTALL), "HEIF"),
)
_MARKUP: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"<svg[\s>]", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<\?xml"), "an XML document"),
)


_GREY_16 = b"\x10\x00"
"""A PNG's bits per channel and kind of colour, which its header has as bytes 24 and 25."""


def image_type(encoded: bytes) -> str | None:
    """The type that the content shows (a key of `MEDIA_TYPES`), or None for anything else."""
    return next((name for pattern, name in _MAGIC if pattern.match(encoded)), None)


def needs_png(head: bytes) -> bool:
    """Whether browsers show a file that begins so in other greys than networks see (a 16-bit PNG), or not at
    all (a TIFF)."""
    kind = image_type(head)
    return kind == "TIFF" or (kind == "PNG" and head[24:26] == _GREY_16)


def markup(encoded: bytes) -> str | None:
    """What a document is that is not an image but is often named as one, or None."""
    head = encoded[:1024]
    return next((name for pattern, name in _MARKUP if pattern.search(head)), None)


def stored_path(path: str, kind: str) -> str:
    """The name of an image of this type in a store."""
    return f"{path}.png" if kind in STORED_AS_PNG else path
