"""An image is turned as its EXIF or XMP data say; what stands there instead of one number costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from models.data.images.checks import CheckedImage, check_image, decode_image
from models.data.images.orientation import upright
from models.data.images.parts import MAX_EXIF, MAX_FRACTIONS
from models.data.report import FileCode, Rejection
from tests.support.tiffs import (
    LONG,
    ORIENTATION,
    RESOLUTION_UNIT,
    SHORT,
    X_RESOLUTION,
    Tag,
    fractions,
    grey_picture,
    jpeg_with,
    orientation,
    png_with,
    tiff,
    webp_with,
)

CONTAINERS = {"png": png_with, "jpg": jpeg_with, "webp": webp_with}


def size(encoded: bytes) -> tuple[int, int]:
    """Width and height; the pictures have 16×12 pixels before they are turned."""
    return decode_image(encoded).image.size


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize("turn", range(10))
def test_an_orientation_turns_the_picture_as_pil_does(container: Callable[[bytes], bytes], turn: int) -> None:
    encoded = container(tiff([orientation(turn)]))
    with Image.open(BytesIO(encoded)) as image:
        expected = ImageOps.exif_transpose(image)
        image.load()
        assert np.array_equal(np.asarray(upright(image)), np.asarray(expected))


@pytest.mark.parametrize(
    "tag",
    [
        (ORIENTATION, LONG, 1, b"\6\0\0\0"),
        (ORIENTATION, SHORT, 2, b"\6\0\6\0"),
        (ORIENTATION, SHORT, 0, b"\6\0"),
        (ORIENTATION, 99, 1, b"\6\0"),
    ],
    ids=["another type", "two numbers", "no number", "an unknown type"],
)
def test_what_is_not_one_short_number_turns_nothing(tag: Tag) -> None:
    assert size(png_with(tiff([tag]))) == (16, 12)


@pytest.mark.parametrize(
    "exif",
    [b"", b"nonsense", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01"],
    ids=["nothing", "no header", "a header alone", "a directory beyond its end", "a directory cut short"],
)
def test_broken_exif_data_turn_nothing(exif: bytes) -> None:
    assert size(png_with(exif)) == (16, 12)


def test_an_orientation_in_xmp_counts_without_one_in_exif() -> None:
    xmp = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    buffer = BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "WEBP", xmp=xmp)
    assert size(buffer.getvalue()) == (12, 16)
    buffer = BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "WEBP", xmp=xmp, exif=tiff([orientation(1)]))
    assert size(buffer.getvalue()) == (16, 12)


def test_a_tiff_is_turned_once() -> None:
    pixels = bytes(range(192))
    place = len(tiff((*grey_picture(), orientation(6))))
    tags = [tag for tag in grey_picture() if tag[0] != 273]
    encoded = tiff((*tags, (273, LONG, 1, place.to_bytes(4, "little")), orientation(6))) + pixels
    image = decode_image(encoded).image
    assert image.size == (12, 16)
    assert image.getpixel((11, 0)) == (0, 0, 0)


@pytest.mark.parametrize("number", [X_RESOLUTION, RESOLUTION_UNIT])
def test_a_jpeg_of_a_thousand_resolutions_is_not_opened(number: int) -> None:
    """PIL decodes them when it opens the file."""
    accepted = check_image(jpeg_with(tiff([fractions(number, MAX_FRACTIONS)])), "a.jpg")
    assert isinstance(accepted, CheckedImage), accepted
    refused(check_image(jpeg_with(tiff([fractions(number, MAX_FRACTIONS + 1)])), "a.jpg"), "resolution")


def test_a_resolution_that_the_file_does_not_have_is_no_attack() -> None:
    tag = (X_RESOLUTION, 5, 1 << 20, b"\xff\xff\xff\xff")
    assert size(jpeg_with(tiff([tag]))) == (16, 12)


def test_a_jpeg_of_megabytes_of_exif_data_is_not_opened() -> None:
    """PIL copies all that came before for each segment of 64 KB."""
    refused(check_image(jpeg_with(tiff([(37500, 7, MAX_EXIF, bytes(MAX_EXIF))])), "a.jpg"), "EXIF")


@pytest.mark.parametrize(
    "tags",
    [
        {"tags": (*grey_picture(), fractions(ORIENTATION, MAX_FRACTIONS + 1))},
        {"tags": grey_picture(), "directory": [fractions(37386, MAX_FRACTIONS + 1)]},
        {"tags": grey_picture(), "directory": [fractions(number, 1) for number in range(MAX_FRACTIONS + 1)]},
    ],
    ids=["under its orientation", "in its EXIF data", "in its EXIF data, one by one"],
)
def test_a_tiff_of_many_fractions_is_not_opened(tags: dict[str, tuple[Tag, ...]]) -> None:
    """PIL decodes the whole directory of EXIF data when it has loaded the pixels."""
    refused(check_image(tiff(**tags), "a.tiff"), "export it again")


def refused(result: CheckedImage | Rejection, words: str) -> None:
    assert isinstance(result, Rejection)
    assert result.code is FileCode.UNDECODABLE
    assert words in result.detail
