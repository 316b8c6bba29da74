"""Check that bytes are a valid image, and decode them; training decodes images with the same function.

No claim of a file is trusted: its type is read from its content, its size from its header before
anything is decoded, and then every pixel is decoded once.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.grey import GreyWindow, to_8_bit
from models.data.images import dicom
from models.data.images.image_types import MEDIA_TYPES, STORED_AS_PNG, TYPES, image_type, markup
from models.data.images.limits import ImageError, ImageLimits, require_size
from models.data.images.orientation import upright
from models.data.images.parts import (
    CountedFile,
    TooFewBytes,
    TooManyParts,
    require_enough_bytes,
    require_few_parts,
)
from models.data.packing import MAX_PIXELS_SIDE
from models.data.report import FileCode, Rejection

# Both warn of each tag that is damaged: tens of thousands, if the image is an attack.
warnings.filterwarnings("ignore", module=r"(PIL|pydicom)\.")

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
    RuntimeError,  # NotImplementedError too
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # raised if warnings are turned into errors
)
_ENDS_EARLY = "ends before the image does: upload it again"
TOO_MUCH_MEMORY = "takes more memory to decode than an image may: scale it down or export it again"
_GREY_16 = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
"""Modes that PIL converts to RGB without a loss that matters."""

T = TypeVar("T")


@dataclass(frozen=True)
class CheckedImage:
    """A fully decoded image.
    Sizes are in pixels, upright; `pixel_hash` is equal for equal pixels.

    `pixels` (H, W, 3) uint8 RGB is kept for small images only (`packing.MAX_PIXELS_SIDE`), and not for
    16-bit grey ones (`grey_16`), whose RGB depends on the data set's window. `subject`, `window` and `device`
    are those of a DICOM header (`dicom.Header`).
    """

    width: int
    height: int
    type: str
    sha256: bytes
    pixel_hash: bytes
    pixels: NDArray[np.uint8] | None
    grey_16: bool = False
    subject: str | None = None
    window: GreyWindow | None = None
    device: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A decoded image, upright and RGB, and its type as PIL names it."""

    image: Image.Image
    type: str


def decode_image(
    encoded: bytes, limits: ImageLimits | None = None, window: GreyWindow | None = None
) -> Picture:
    """Decode every pixel to RGB, turned upright as EXIF says.
    Raises `ImageError`.

    `window` says which levels of a 16-bit grey image become 0 to 255; None takes its upper 8 bits.
    Thread-safe: it changes no global setting of PIL. PIL decodes without the GIL.
    """
    return Picture(*_decode(encoded, limits or ImageLimits(), partial(_rgb, window=window)))


def grey_levels(encoded: bytes, limits: ImageLimits | None = None) -> NDArray[np.uint16]:
    """The levels (H, W) of a 16-bit grey image, upright. Raises `ImageError`."""
    return _decode(encoded, limits or ImageLimits(), _levels)[0]


def stored_file(encoded: bytes, limits: ImageLimits | None = None) -> bytes:
    """The file as a store keeps it: DICOM and HEIC as a PNG of their pixels alone, other types as they are.

    Raises `ImageError`.
    """
    if image_type(encoded) not in STORED_AS_PNG:
        return encoded
    return _decode(encoded, limits or ImageLimits(), _png)[0]


def _decode(encoded: bytes, limits: ImageLimits, convert: Callable[[Image.Image], T]) -> tuple[T, str]:
    """The decoded, upright image as `convert` returns it, and its type."""
    try:
        kind = _require_image(encoded, limits)
        return _convert(encoded, kind, limits, convert), kind
    except TooManyParts as error:
        raise ImageError(FileCode.UNDECODABLE, str(error)) from error
    except TooFewBytes as error:
        raise ImageError(FileCode.TRUNCATED, _ENDS_EARLY) from error


def _convert(encoded: bytes, kind: str, limits: ImageLimits, convert: Callable[[Image.Image], T]) -> T:
    try:
        with _open(encoded, kind, limits) as image:
            require_size(image.size, limits)
            require_enough_bytes(encoded, kind, image.width * image.height)
            # PIL sets it only for types that can be animated; phones save stills as MPO, a JPEG with extras,
            # and as HEIC with several pictures, of which PIL opens the main one.
            if kind not in ("JPEG", "HEIF") and getattr(image, "is_animated", False):
                raise ImageError(
                    FileCode.ANIMATED, "holds several pictures: save the one you need as a still image"
                )
            image.load()
            require_size(image.size, limits)  # of a HEIC, the size is known only now
            return convert(upright(image))
    except _DECODER_ERRORS as error:
        raise _decoder_error(error, kind) from error


def _open(encoded: bytes, kind: str, limits: ImageLimits) -> Image.Image:
    require_few_parts(encoded, kind)
    if kind == "DICOM":
        return Image.fromarray(dicom.read_pixels(encoded, limits))
    if kind == "HEIF":
        _require_heif()
    return Image.open(CountedFile(encoded), formats=[kind])


def check_image(encoded: bytes, path: str, limits: ImageLimits | None = None) -> CheckedImage | Rejection:
    """Decode `encoded` once and fully, and compare its type with its name (`path`)."""
    try:
        pixels, kind = _decode(encoded, limits or ImageLimits(), _pixels)
        header = dicom.read_header(encoded) if kind == "DICOM" else dicom.Header()
    except ImageError as error:
        return Rejection(path, error.code, error.detail)
    named = TYPES.get(PurePosixPath(path).suffix.lower())
    if named is not None and named != kind:
        return Rejection(
            path, FileCode.MISLABELLED, f"is named as {named} but holds a {kind} image: rename it"
        )
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(pixels.data if pixels.flags.c_contiguous else pixels.tobytes())
    hashes = hashlib.sha256(encoded).digest(), digest.digest()
    sixteen = pixels.dtype == np.uint16
    small = not sixteen and max(height, width) <= MAX_PIXELS_SIDE
    return CheckedImage(width, height, kind, *hashes, pixels if small else None, sixteen, **header._asdict())


def _require_image(encoded: bytes, limits: ImageLimits) -> str:
    if not encoded:
        raise ImageError(FileCode.EMPTY_FILE, "is empty: upload it again")
    if len(encoded) > limits.max_bytes:
        raise ImageError(
            FileCode.TOO_LARGE,
            f"has {len(encoded)} bytes, more than the limit of {limits.max_bytes}: shrink it",
        )
    kind = image_type(encoded)
    if kind is None:
        what = markup(encoded) or "not an image of a known type"
        known = ", ".join(MEDIA_TYPES)
        raise ImageError(FileCode.NOT_AN_IMAGE, f"is {what}: upload pictures as one of {known}")
    if kind == "WEBP":
        require_size(_webp_canvas(encoded), limits)  # PIL's decoder allocates the canvas on opening
    return kind


def _webp_canvas(encoded: bytes) -> tuple[int, int]:
    """The canvas size in a WebP header (RFC 9649); fields of zeros give at most (1, 1), which is rejected."""
    chunk, body = encoded[12:16], encoded[20:30]
    if len(body) < 10:
        raise ImageError(FileCode.TRUNCATED, _ENDS_EARLY)
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ImageError(FileCode.UNDECODABLE, "is a damaged WEBP image: export it again")


def _pixels(image: Image.Image) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB, or (H, W) uint16 of a 16-bit grey image."""
    return _levels(image) if image.mode in _GREY_16 else np.asarray(_rgb(image))


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    picture = image if image.mode in ("I;16", "L") else _rgb(image)
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG", compress_level=1)  # the pixels, and no profiles
    return buffer.getvalue()


def _levels(image: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(image).astype(np.uint16)  # of the machine's byte order


def _rgb(image: Image.Image, window: GreyWindow | None = None) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in _GREY_16:  # PIL's own conversion would clip everything above 255 to white
        return Image.fromarray(to_8_bit(_levels(image), window)).convert("RGB")
    if image.mode not in _COLOUR:
        raise ImageError(
            FileCode.UNSUPPORTED_MODE,
            f"has pixels of mode {image.mode}, which cannot be read as RGB: save it with 8 bits per channel",
        )
    return image.convert("RGB")


def _decoder_error(error: BaseException, kind: str) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError(FileCode.PIXEL_BOMB, "has more pixels than the limit: scale it down")
    if isinstance(error, MemoryError):
        return ImageError(FileCode.UNDECODABLE, TOO_MUCH_MEMORY)
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return ImageError(FileCode.TRUNCATED, _ENDS_EARLY)
    return ImageError(FileCode.UNDECODABLE, f"is a damaged {kind} image: export it again")


def _require_heif() -> None:
    """Teach PIL the format `HEIF`; it opens such a file only where it is asked for. Raises `ImageError`."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            FileCode.UNSUPPORTED_TYPE,
            "is a HEIC image: save it as JPEG, or install the extra for it, whose wheels hold GPL code: "
            "pip install 'masktune-service[heic]'",
        ) from error
    register_heif_opener()
