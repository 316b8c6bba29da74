"""One image: what is accepted, and how each bad one is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from models.data.images.checks import CheckedImage, check_image, decode_image
from models.data.images.image_types import image_type
from models.data.images.limits import ImageError, ImageLimits
from models.data.images.parts import MAX_SCANS, MAX_SEGMENTS
from models.data.report import FileCode, Rejection
from tests.unit.models.data.conftest import MakeImage

CORPUS = Path(__file__).parents[4] / "corpus/images"


def code(result: CheckedImage | Rejection) -> FileCode:
    assert isinstance(result, Rejection)
    assert result.path
    assert result.detail
    return result.code


def accepted(result: CheckedImage | Rejection) -> CheckedImage:
    assert isinstance(result, CheckedImage), result
    return result


@pytest.mark.parametrize(
    ("suffix", "format"),
    [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("gif", "GIF"), ("bmp", "BMP"), ("tiff", "TIFF")],
)
def test_every_type_of_image_is_accepted(make_image: MakeImage, suffix: str, format: str) -> None:
    data = make_image(format=format)
    result = accepted(check_image(data, f"a.{suffix}"))
    assert (result.type, result.width, result.height) == (format, 16, 12)
    assert image_type(data) == format


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_modes_become_rgb(make_image: MakeImage, mode: str) -> None:
    format = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    picture = decode_image(make_image(mode=mode, format=format))
    assert (picture.image.mode, picture.image.size) == ("RGB", (16, 12))


def test_exif_orientation_turns_the_picture(make_image: MakeImage) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = accepted(check_image(make_image(exif=exif), "a.png"))
    assert (turned.width, turned.height) == (12, 16)
    upright = np.asarray(decode_image(make_image()).image)
    assert turned.pixels is not None
    assert np.array_equal(turned.pixels, np.rot90(upright, -1))


def test_equal_pictures_share_a_hash_whatever_the_file(make_image: MakeImage) -> None:
    first, second = (accepted(check_image(make_image(format=f), f"a.{f}")) for f in ("PNG", "BMP"))
    assert first.pixel_hash == second.pixel_hash
    assert first.sha256 != second.sha256
    assert first.pixel_hash != accepted(check_image(make_image(1), "a.png")).pixel_hash


def test_pixels_are_kept_for_small_images_only(make_image: MakeImage) -> None:
    assert accepted(check_image(make_image(size=(64, 64)), "a.png")).pixels is not None
    assert accepted(check_image(make_image(size=(65, 8)), "a.png")).pixels is None


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}]
)
def test_the_webp_header_is_read_as_the_decoder_reads_it(
    make_image: MakeImage, options: dict[str, object]
) -> None:
    data = make_image(size=(123, 45), format="WEBP", **options)
    assert accepted(check_image(data, "a.webp", ImageLimits(max_pixels=123 * 45))).width == 123
    assert code(check_image(data, "a.webp", ImageLimits(max_pixels=123 * 45 - 1))) is FileCode.PIXEL_BOMB


def test_only_the_scans_of_a_jpeg_count(make_image: MakeImage) -> None:
    """Their marker may stand in a thumbnail, in a comment and behind the end, any number of times."""
    data = make_image(format="JPEG", progressive=True)
    marks = b"\xff\xda" * (MAX_SCANS + 1)
    comment = b"\xff\xfe" + struct.pack(">H", len(marks) + 2) + marks
    accepted(check_image(data[:2] + comment + data[2:] + marks, "a.jpg"))


def test_a_jpeg_of_segments_alone_is_not_opened(make_image: MakeImage) -> None:
    """PIL keeps each of them: 1.3 GB of 32 MB."""
    data, empty = make_image(format="JPEG"), b"\xff\xe5\x00\x02"
    accepted(check_image(data[:2] + empty * (MAX_SEGMENTS - 50) + data[2:], "a.jpg"))
    assert code(check_image(data[:2] + empty * MAX_SEGMENTS + data[2:], "a.jpg")) is FileCode.UNDECODABLE


@pytest.mark.parametrize("between", [b"", b"\xff\xff", b"\xff\x02\x40\x00", b"\xff\xd0", b"\xff\x00"])
def test_no_bytes_between_them_hide_the_scans(make_image: MakeImage, between: bytes) -> None:
    data = make_image(format="JPEG", progressive=True)
    scan = between + data[data.rindex(b"\xff\xda") : -2]
    scans = data.count(b"\xff\xda")
    repeated = [data[:-2] + scan * more + data[-2:] for more in (MAX_SCANS - scans, MAX_SCANS - scans + 1)]
    few, many = (check_image(one, "a.jpg") for one in repeated)
    assert code(many) is FileCode.UNDECODABLE
    assert isinstance(many, Rejection)
    assert "100 scans" in many.detail
    assert "scans" not in getattr(few, "detail", "")


def test_limits_of_bytes_and_sides(make_image: MakeImage) -> None:
    assert code(check_image(make_image(), "a.png", ImageLimits(max_bytes=100))) is FileCode.TOO_LARGE
    assert code(check_image(make_image(size=(7, 100)), "a.png")) is FileCode.TOO_SMALL


def test_no_global_setting_is_touched(make_image: MakeImage) -> None:
    before = Image.MAX_IMAGE_PIXELS
    check_image((CORPUS / "claims-60000-by-60000.png").read_bytes(), "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    format=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]),
    cut=st.floats(0, 0.999),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=3),
)
def test_any_damage_has_a_code(
    make_image: MakeImage, format: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    """A prefix decodes to the same picture or is refused; changed bytes never raise anything else."""
    whole = make_image(format=format)
    data = bytearray(whole) if flips else bytearray(whole[: int(len(whole) * cut)])
    for place, value in flips:
        data[int(len(data) * place)] = value
    try:
        picture = decode_image(bytes(data), ImageLimits(max_pixels=1 << 20))
    except ImageError:
        return
    if not flips:
        assert np.array_equal(np.asarray(picture.image), np.asarray(decode_image(whole).image))
