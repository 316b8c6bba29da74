"""Plain PNG files are decoded as PIL does it, and nothing else is taken for one."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from models.data.checks import ImageError, ImageLimits, decode_image
from models.data.decoding import square_array, square_of_pixels
from models.data.plain_png import decode_plain_png

LIMITS = ImageLimits()


def picture(mode: str = "RGB", side: tuple[int, int] = (13, 11), seed: int = 0) -> Image.Image:
    shape = (side[1], side[0], len(Image.new(mode, (1, 1)).getbands()))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    return Image.fromarray(pixels.squeeze(2) if shape[2] == 1 else pixels, mode)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(data: bytes, name: bytes, body: bytes) -> bytes:
    """Behind the header."""
    return data[:33] + chunk(name, body) + data[33:]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@given(width=st.integers(8, 40), height=st.integers(8, 40), seed=st.integers(0, 99), level=st.integers(0, 9))
def test_the_pixels_are_those_of_pil(mode: str, width: int, height: int, seed: int, level: int) -> None:
    data = png(picture(mode, (width, height), seed), compress_level=level)
    pixels = decode_plain_png(data, LIMITS)
    assert pixels is not None
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(decode_image(data).image))


@pytest.mark.parametrize("size", [11, 13, 16, 28, 7])
def test_a_square_has_the_same_pixels(size: int) -> None:
    data = png(picture(side=(13, 13)))
    pixels = decode_plain_png(data, LIMITS)
    assert pixels is not None
    assert np.array_equal(square_of_pixels(pixels, size), square_array(decode_image(data).image, size))


WITHOUT_EFFECT: Mapping[str, Callable[[bytes], bytes]] = {
    "gamma": lambda data: with_chunk(data, b"gAMA", struct.pack(">I", 22_000)),
    "srgb": lambda data: with_chunk(data, b"sRGB", b"\x00"),
    "resolution": lambda data: with_chunk(data, b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    "primaries": lambda data: with_chunk(data, b"cHRM", struct.pack(">8I", *range(30_000, 30_008))),
}


@pytest.mark.parametrize("change", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_changes_no_pixel_is_read_past(change: Callable[[bytes], bytes]) -> None:
    data = change(png(picture()))
    pixels = decode_plain_png(data, LIMITS)
    assert pixels is not None
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(decode_image(data).image))


def _text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("title", "a")
    return png(picture(), pnginfo=info)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(picture(), exif=exif)


def _grey16() -> bytes:
    return png(Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 200))


def _interlaced() -> bytes:
    """Only its header says so: PIL cannot write one."""
    header = struct.pack(">IIBBBBB", 13, 11, 8, 2, 0, 0, 1)
    return png(picture())[:8] + chunk(b"IHDR", header) + png(picture())[33:]


OTHERS: Mapping[str, Callable[[], bytes]] = {
    "palette": lambda: png(picture().convert("P")),
    "transparent": lambda: png(picture("RGBA")),
    "transparent colour": lambda: png(picture(), transparency=(1, 2, 3)),
    "two bits": lambda: png(picture("L").convert("1")),
    "16 bits": _grey16,
    "text": _text,
    "turned by exif": _turned,
    "animated": lambda: png(picture(), save_all=True, append_images=[picture(seed=1)]),
    "interlaced": _interlaced,
    "jpeg": lambda: b"\xff\xd8\xff" + bytes(100),
    "empty": lambda: b"",
    "signature alone": lambda: b"\x89PNG\r\n\x1a\n",
    "more behind its end": lambda: png(picture()) + b"x",
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_what_is_unusual_is_left_to_pil(make: Callable[[], bytes]) -> None:
    assert decode_plain_png(make(), LIMITS) is None


def _damaged(position: int) -> bytes:
    data = bytearray(png(picture()))
    data[position] ^= 0xFF
    return bytes(data)


def test_no_damage_passes() -> None:
    """Of a byte anywhere: nothing is made of it, or what PIL makes of it."""
    whole = png(picture())
    for position in range(len(whole)):
        data = _damaged(position)
        pixels = decode_plain_png(data, LIMITS)
        if pixels is not None:
            assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(decode_image(data).image))


def test_no_beginning_passes() -> None:
    whole = png(picture())
    for length in range(len(whole)):
        assert decode_plain_png(whole[:length], LIMITS) is None


@pytest.mark.parametrize(
    "limits", [ImageLimits(max_bytes=100), ImageLimits(max_pixels=142), ImageLimits(min_side=12)]
)
def test_limits_hold(limits: ImageLimits) -> None:
    data = png(picture())
    assert decode_plain_png(data, limits) is None
    with pytest.raises(ImageError):
        decode_image(data, limits)


def test_a_header_that_claims_much_costs_nothing() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = png(picture())[:8] + chunk(b"IHDR", header) + png(picture())[33:]
    assert decode_plain_png(bomb, LIMITS) is None
