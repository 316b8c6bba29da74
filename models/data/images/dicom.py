"""DICOM files: a picture's grey levels or colours, its window, the patient's id, and what took the picture.

Of the header, only the tags named here are read; what else it says of a patient is neither kept nor
reported. DICOM PS3.3, sections C.7.6.3 (pixels) and C.11 (rescaling and window).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data.archives.guards import plain
from models.data.grey import LEVELS, GreyWindow
from models.data.images.limits import ImageError, ImageLimits, require_size
from models.data.images.parts import CountedFile, require_few_parts
from models.data.report import FileCode

if TYPE_CHECKING:
    from pydicom import Dataset

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_OF_PICTURE = (
    *(
        "Rows",
        "Columns",
        "NumberOfFrames",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
    ),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "Modality"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
)
DEVICE_TAGS: Mapping[str, str] = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "station": "StationName",
    "view": "ViewPosition",
}
"""Column of metadata → the tag of what took the picture, and how: what a network may learn in place of it."""
_LONGEST = 64  # characters of such a text, PS3.5, section 6.2
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_JPEG = (".4.50", ".4.51")  # ends of the transfer syntaxes of libjpeg
_JPEG_2000 = (".4.90", ".4.91")
_UNCOMPRESSED = "save it uncompressed (Explicit VR Little Endian), or as a 16-bit PNG"
_READS = 50_000
"""Most reads of a file: pydicom takes two for an element, a few thousand for a header, and one for 8 KB of
compressed pixels. An item of eight bytes costs 20 µs and 2 KB of memory."""
_CT = 1024
"""Added to Hounsfield units, so that air (−1,000) has a level too."""


class Header(NamedTuple):
    """What a file says beside its pixels: the patient's id, which levels its window makes 0 and 255, and a
    text, empty where there is none, for each of `DEVICE_TAGS`."""

    subject: str | None = None
    window: GreyWindow | None = None
    device: tuple[str, ...] = ()


@contextmanager
def _damage() -> Iterator[None]:
    """Whatever a damaged file makes pydicom raise, as one error; its own texts quote the header."""
    errors = _pydicom().errors
    try:
        yield
    except (
        *(
            AttributeError,
            RuntimeError,
            OSError,
            EOFError,
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
        ),
        *(struct.error, errors.BytesLengthException, errors.InvalidDicomError),
    ):
        raise ImageError(FileCode.UNDECODABLE, "is a damaged DICOM image: export it again") from None


@_damage()
def read_header(encoded: bytes) -> Header:
    """Raises `ImageError` and `TooManyParts`."""
    dataset = _dataset(encoded, "PatientID", *DEVICE_TAGS.values(), *_OF_PICTURE)
    subject = " ".join(plain(str(dataset.get("PatientID") or "")).split())
    device = tuple(_text(dataset, tag) for tag in DEVICE_TAGS.values())
    return Header(subject or None, _window(dataset), device)


@_damage()
def read_pixels(encoded: bytes, limits: ImageLimits) -> NDArray[Any]:
    """(H, W) uint16 levels of more than 8 bits, (H, W) uint8 ones, or (H, W, 3) uint8 RGB.

    Levels are the stored ones, those of a CT Hounsfield units + 1,024; white is high. Raises `ImageError`
    and `TooManyParts`.
    """
    dataset = _dataset(encoded, "PixelData", *_OF_PICTURE)
    if "PixelData" not in dataset:
        raise ImageError(
            FileCode.NOT_AN_IMAGE,
            "is a DICOM file without pixels: export the picture itself, not a report about it",
        )
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        raise ImageError(
            FileCode.ANIMATED, f"holds {frames} frames: save the one you need as a file of its own"
        )
    require_size((dataset.Columns, dataset.Rows), limits)
    _require_mode(dataset)
    _require_decoder(dataset)
    pixels: NDArray[Any] = _pydicom().pixels.pixel_array(dataset)
    if dataset.PhotometricInterpretation not in _GREY:
        return pixels
    levels = _Levels.of(dataset).of_stored(pixels)
    return levels.astype(np.uint8) if dataset.BitsStored <= 8 else levels


class _Levels(NamedTuple):
    """How stored numbers, and the rescaled ones of the window, become levels: by a slope and an offset.

    `top` is the level that black has in a picture whose high numbers are dark, None in others.
    """

    stored: tuple[float, float]
    rescaled: tuple[float, float]
    top: int | None

    @classmethod
    def of(cls, dataset: Dataset) -> _Levels:
        slope = _number(dataset, "RescaleSlope") or 1.0
        intercept = _number(dataset, "RescaleIntercept") or 0.0
        bits = int(dataset.BitsStored)
        top = (1 << bits) - 1 if dataset.PhotometricInterpretation == "MONOCHROME1" else None
        if dataset.get("Modality") == "CT" and bits > 8:
            return cls((slope, intercept + _CT), (1, _CT), top)
        zero = 1 << (bits - 1) if dataset.PixelRepresentation else 0
        return cls((1, zero), (1 / slope, zero - intercept / slope), top)

    def of_stored(self, numbers: NDArray[Any]) -> NDArray[np.uint16]:
        return self._levels(numbers, *self.stored)

    def of_rescaled(self, numbers: NDArray[Any]) -> NDArray[np.uint16]:
        return self._levels(numbers, *self.rescaled)

    def _levels(self, numbers: NDArray[Any], slope: float, offset: float) -> NDArray[np.uint16]:
        levels = np.rint(numbers.astype(np.float64) * slope + offset)
        if self.top is not None:
            levels = self.top - levels
        return levels.clip(0, LEVELS - 1).astype(np.uint16)


def _window(dataset: Dataset) -> GreyWindow | None:
    """The first window of the header, PS3.3 C.11.2.1.2.1."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    if centre is None or width is None or width <= 1 or dataset.get("BitsStored", 0) <= 8:
        return None
    ends = np.array([centre - width / 2, centre + width / 2 - 1])
    low, high = sorted(_Levels.of(dataset).of_rescaled(ends).tolist())
    return GreyWindow(low, high) if low < high else None


def _text(dataset: Dataset, tag: str) -> str:
    """A text of the header on one line; several are joined as DICOM writes them."""
    content = dataset.get(tag) or ""
    text = content if isinstance(content, str) else "\\".join(map(str, content))
    return " ".join(plain(text).split())[:_LONGEST].rstrip()


def _number(dataset: Dataset, name: str) -> float | None:
    """A number of the header, the first if it has several."""
    content = dataset.get(name)
    numbers = [content] if isinstance(content, int | float) else list(content or ())
    number = float(numbers[0]) if numbers else math.nan
    return number if math.isfinite(number) else None


def _dataset(encoded: bytes, *tags: str) -> Dataset:
    """Read only these tags."""
    if _DEFLATED in encoded:  # pydicom would inflate it without a bound
        raise ImageError(FileCode.UNSUPPORTED_TYPE, f"is a deflated DICOM file: {_UNCOMPRESSED}")
    dataset: Dataset = _pydicom().dcmread(CountedFile(encoded, _READS), specific_tags=list(tags))
    return dataset


def _require_mode(dataset: Dataset) -> None:
    kind, bits = dataset.PhotometricInterpretation, dataset.BitsAllocated
    if not (kind in _GREY and bits in (8, 16)) and not (kind in _COLOUR and bits == 8):
        raise ImageError(
            FileCode.UNSUPPORTED_MODE,
            f"has DICOM pixels of type {kind} with {bits} bits: save it as MONOCHROME2 or 8-bit RGB",
        )


def _require_decoder(dataset: Dataset) -> None:
    """Check that compressed pixels can be decoded, and that they have the size that the header says."""
    pydicom = _pydicom()
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        available = pydicom.pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise ImageError(
            FileCode.UNSUPPORTED_TYPE,
            f"has pixels compressed as {syntax.name}, which the service has no decoder for: {_UNCOMPRESSED}",
        )
    if not syntax.endswith((*_JPEG, *_JPEG_2000)):
        return
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax.endswith(_JPEG):
        require_few_parts(frame, "JPEG")
    with Image.open(CountedFile(frame), formats=["JPEG", "JPEG2000"]) as picture:
        if picture.size != (dataset.Columns, dataset.Rows):
            raise ImageError(
                FileCode.UNDECODABLE,
                "has compressed pixels of another size than its header says: export it again",
            )


def _pydicom() -> ModuleType:
    """The library, which quotes no values of a header in warnings."""
    import pydicom
    import pydicom.encaps
    import pydicom.errors
    import pydicom.pixels

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom
