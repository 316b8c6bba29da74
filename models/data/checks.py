"""Check that bytes are a valid image, and decode them; training decodes images with the same function.

No claim of a file is trusted: its type is read from its content, its size from its header before
anything is decoded, and then every pixel is decoded once.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.grey import GreyWindow, to_8_bit
from models.data.packing import MAX_PIXELS_SIDE
from models.data.parts import CountedFile, TooManyParts, require_few_parts
from models.data.report import FileCode, Rejection

# suffix → type, as PIL names it. No other decoder is ever tried (EPS, for one, starts a program).
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
}
MEDIA_TYPES: Mapping[str, str] = {name: f"image/{name.lower()}" for name in sorted(set(TYPES.values()))}

_MAGIC: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"BM"), "BMP"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "TIFF"),
)
_MARKUP: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"<svg[\s>]", re.IGNORECASE), "an SVG drawing"),
    (re.compile(rb"<(!doctype\s+html|html|head|body)[\s>]", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<\?xml"), "an XML document"),
)

# Errors that PIL's decoders were seen to raise on hostile bytes. All are the file's fault, MemoryError
# included, since the size was checked before.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # raised if warnings are turned into errors
)
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
"""Modes that PIL converts to RGB without a loss that matters."""

T = TypeVar("T")


class ImageError(Exception):
    """The bytes are not a usable image."""

    def __init__(self, code: FileCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class ImageLimits:
    """Limits of one image. Sides and pixels are checked in the header, before anything is decoded."""

    max_bytes: int = 64 << 20
    max_pixels: int = 50_000_000
    min_side: int = 8  # pixels


STORED = ImageLimits(max_bytes=1 << 62, max_pixels=1 << 62, min_side=1)
"""For the images of a store: they were checked at import, under limits that may have changed since."""


@dataclass(frozen=True)
class CheckedImage:
    """A fully decoded image. Sizes are in pixels, upright; `pixel_hash` is equal for equal pixels.

    `pixels` (H, W, 3) uint8 RGB is kept for small images only (`packing.MAX_PIXELS_SIDE`), and not for
    16-bit grey ones (`grey_16`), whose RGB depends on the data set's window.
    """

    width: int
    height: int
    type: str
    sha256: bytes
    pixel_hash: bytes
    pixels: NDArray[np.uint8] | None
    grey_16: bool = False


class Picture(NamedTuple):
    """A decoded image, upright and RGB, and its type as PIL names it."""

    image: Image.Image
    type: str


def image_type(encoded: bytes) -> str | None:
    """The type that the content shows (a key of `MEDIA_TYPES`), or None for anything else."""
    return next((name for pattern, name in _MAGIC if pattern.match(encoded)), None)


def decode_image(
    encoded: bytes, limits: ImageLimits | None = None, window: GreyWindow | None = None
) -> Picture:
    """Decode every pixel to RGB, turned upright as EXIF says. Raises `ImageError`.

    `window` says which levels of a 16-bit grey image become 0 to 255; None takes its upper 8 bits.
    Thread-safe: it changes no global setting of PIL. PIL decodes without the GIL.
    """
    return Picture(*_decode(encoded, limits or ImageLimits(), partial(_rgb, window=window)))


def grey_levels(encoded: bytes, limits: ImageLimits | None = None) -> NDArray[np.uint16]:
    """The levels (H, W) of a 16-bit grey image, upright. Raises `ImageError`."""
    return _decode(encoded, limits or ImageLimits(), _levels)[0]


def _decode(encoded: bytes, limits: ImageLimits, convert: Callable[[Image.Image], T]) -> tuple[T, str]:
    """The decoded, upright image as `convert` returns it, and its type."""
    try:
        kind = _require_image(encoded, limits)
        return _convert(encoded, kind, limits, convert), kind
    except TooManyParts as error:
        raise ImageError(FileCode.UNDECODABLE, str(error)) from error


def _convert(encoded: bytes, kind: str, limits: ImageLimits, convert: Callable[[Image.Image], T]) -> T:
    try:
        with Image.open(CountedFile(encoded), formats=[kind]) as image:
            _require_size(image.size, limits)
            # PIL sets it only for types that can be animated; phones save stills as MPO, a JPEG with extras.
            if kind != "JPEG" and getattr(image, "is_animated", False):
                raise ImageError(
                    FileCode.ANIMATED, "holds several pictures: save the one you need as a still image"
                )
            image.load()
            return convert(_upright(image))
    except _DECODER_ERRORS as error:
        raise _decoder_error(error, kind) from error


def check_image(encoded: bytes, path: str, limits: ImageLimits | None = None) -> CheckedImage | Rejection:
    """Decode `encoded` once and fully, and compare its type with its name (`path`)."""
    try:
        pixels, kind = _decode(encoded, limits or ImageLimits(), _pixels)
    except ImageError as error:
        return Rejection(path, error.code, error.detail)
    named = TYPES.get(PurePosixPath(path).suffix.lower())
    if named is not None and named != kind:
        detail = f"is named as {named} but holds a {kind} image: rename it"
        return Rejection(path, FileCode.MISLABELLED, detail)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(pixels.data if pixels.flags.c_contiguous else pixels.tobytes())
    hashes = hashlib.sha256(encoded).digest(), digest.digest()
    if pixels.dtype == np.uint16:
        return CheckedImage(width, height, kind, *hashes, pixels=None, grey_16=True)
    small = max(height, width) <= MAX_PIXELS_SIDE
    return CheckedImage(width, height, kind, *hashes, pixels=pixels if small else None)


def _require_image(encoded: bytes, limits: ImageLimits) -> str:
    if not encoded:
        raise ImageError(FileCode.EMPTY_FILE, "is empty: upload it again")
    if len(encoded) > limits.max_bytes:
        detail = f"has {len(encoded)} bytes, more than the limit of {limits.max_bytes}: shrink it"
        raise ImageError(FileCode.TOO_LARGE, detail)
    kind = image_type(encoded)
    if kind is None:
        head = encoded[:1024]
        markup = (name for pattern, name in _MARKUP if pattern.search(head))
        what = next(markup, "not an image of a known type")
        known = ", ".join(MEDIA_TYPES)
        raise ImageError(FileCode.NOT_AN_IMAGE, f"is {what}: upload pictures as one of {known}")
    if kind == "WEBP":
        _require_size(_webp_canvas(encoded), limits)  # PIL's decoder allocates the canvas on opening
    require_few_parts(encoded, kind)
    return kind


def _webp_canvas(encoded: bytes) -> tuple[int, int]:
    """The canvas size in a WebP header (RFC 9649); fields of zeros give at most (1, 1), which is rejected."""
    chunk, body = encoded[12:16], encoded[20:30]
    if len(body) < 10:
        raise ImageError(FileCode.TRUNCATED, "ends before the image does: upload it again")
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ImageError(FileCode.UNDECODABLE, "is a damaged WEBP image: export it again")


def _require_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        detail = f"has {width}×{height} pixels, more than the limit of {limits.max_pixels}: scale it down"
        raise ImageError(FileCode.PIXEL_BOMB, detail)
    if min(size) < limits.min_side:
        detail = (
            f"has {width}×{height} pixels, and needs at least {limits.min_side} on each side: leave it out"
        )
        raise ImageError(FileCode.TOO_SMALL, detail)


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_ERRORS:  # an image with broken EXIF data is still usable
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _pixels(image: Image.Image) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB, or (H, W) uint16 of a 16-bit grey image."""
    return _levels(image) if image.mode in _GREY_16 else np.asarray(_rgb(image))


def _levels(image: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(image).astype(np.uint16)  # of the machine's byte order


def _rgb(image: Image.Image, window: GreyWindow | None = None) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in _GREY_16:  # PIL's own conversion would clip everything above 255 to white
        return Image.fromarray(to_8_bit(_levels(image), window)).convert("RGB")
    if image.mode not in _COLOUR:
        detail = (
            f"has pixels of mode {image.mode}, which cannot be read as RGB: save it with 8 bits per channel"
        )
        raise ImageError(FileCode.UNSUPPORTED_MODE, detail)
    return image.convert("RGB")


def _decoder_error(error: BaseException, kind: str) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(FileCode.PIXEL_BOMB, "has more pixels than the limit: scale it down")
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return ImageError(FileCode.TRUNCATED, "ends before the image does: upload it again")
    return ImageError(FileCode.UNDECODABLE, f"is a damaged {kind} image: export it again")
