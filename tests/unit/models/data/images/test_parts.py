"""An image of many tiny parts is refused before they cost anything; JPEGs are in test_checks.py."""

from __future__ import annotations

import struct
import zlib

import pytest

from models.data.images.checks import CheckedImage, check_image
from models.data.images.parts import MAX_CHUNKS, MAX_INFLATED, MAX_VALUES
from models.data.report import FileCode, Rejection
from tests.support.tiffs import tiff_of_strips
from tests.unit.models.data.conftest import MakeImage


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(png: bytes, place: bytes, added: bytes) -> bytes:
    """The PNG with these chunks before its first chunk of this name."""
    at = png.index(place) - 4
    return png[:at] + added + png[at:]


def accept(result: CheckedImage | Rejection) -> None:
    assert isinstance(result, CheckedImage), result


def refused_for(result: CheckedImage | Rejection, parts: str) -> None:
    assert isinstance(result, Rejection)
    assert result.code is FileCode.UNDECODABLE
    assert parts in result.detail


@pytest.mark.parametrize(
    ("place", "name"), [(b"IDAT", b"teSt"), (b"IDAT", b"IDAT"), (b"IDAT", b"tEXt"), (b"IEND", b"teSt")]
)
def test_a_png_of_chunks_alone_is_not_opened(make_image: MakeImage, place: bytes, name: bytes) -> None:
    """Two million empty ones take 24 MB, and held a decoder for 6 s."""
    data, empty = make_image(), chunk(name)
    accept(check_image(with_chunks(data, place, empty * (MAX_CHUNKS - 50)), "a.png"))
    refused_for(check_image(with_chunks(data, place, empty * MAX_CHUNKS), "a.png"), "10000 chunks")


@pytest.mark.parametrize(
    ("place", "name", "head"),
    [
        (b"IDAT", b"zTXt", b"k\0\0"),
        (b"IEND", b"zTXt", b"k\0\0"),
        (b"IDAT", b"iTXt", b"k\0\1\0\0\0"),
        (b"IDAT", b"iCCP", b"k\0\0"),
    ],
)
def test_a_png_of_texts_that_grow_is_not_opened(
    make_image: MakeImage, place: bytes, name: bytes, head: bytes
) -> None:
    """Each takes 1 KB and becomes 1 MB. PIL counts none that is damaged at its end: 2,000 took 4.6 s."""
    packing = zlib.compressobj()
    damaged = packing.compress(bytes(1 << 20)) + packing.flush(zlib.Z_SYNC_FLUSH) + b"\xff\xff\xff"
    data, text = make_image(), chunk(name, head + damaged)
    accept(check_image(with_chunks(data, place, text * 2), "a.png"))
    refused_for(
        check_image(with_chunks(data, place, text * (MAX_INFLATED + 1)), "a.png"), "100 compressed ones"
    )


GIF_PARTS = {
    "comments": b"!\xfe\1a\0",
    "empty extensions": b"!\xfe\0",
    "nothing": b"\0",
    "one extension": b"\1a",
}


@pytest.mark.parametrize("part", GIF_PARTS.values(), ids=GIF_PARTS)
@pytest.mark.parametrize("place", ["before", "behind"])
def test_a_gif_of_blocks_alone_is_not_read_to_its_end(make_image: MakeImage, part: bytes, place: str) -> None:
    """PIL reads each by itself: 32 MB held a decoder for 4 s, and comments took 1 GB of memory."""
    data = make_image(format="GIF")
    colours = 3 << (data[10] & 7) + 1 if data[10] & 128 else 0
    at = 13 + colours if place == "before" else len(data) - 1
    opened = b"!\xf0" if part == b"\1a" else b""

    def holding(number: int) -> bytes:
        return data[:at] + opened + part * number + (b"\0" if opened else b"") + data[at:]

    accept(check_image(holding(1_000), "a.gif"))
    refused_for(check_image(holding(100_000), "a.gif"), "parts for its size")


def test_a_large_gif_is_read_to_its_end(make_image: MakeImage) -> None:
    """Its blocks of 255 bytes are many, but not for its size."""
    accept(check_image(make_image(size=(1500, 1500), mode="L", format="GIF"), "a.gif"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [4, 1])
def test_a_tiff_of_strips_alone_is_not_opened(order: str, kind: int) -> None:
    """PIL makes a list of them, and reads each by itself: a million take 8 MB, and took 11 s."""
    accept(check_image(tiff_of_strips(100, order, 4), "a.tif"))
    refused_for(check_image(tiff_of_strips(MAX_VALUES + 1, order, kind), "a.tif"), "65536 strips")
