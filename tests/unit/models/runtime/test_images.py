"""Pictures: size, what shows through, what is black, and files that open."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from models.runtime.images import colors, heatmap, mask_image, overlay, png, strip, thumbnail

PHOTO = np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)
TINY = np.random.default_rng(1).integers(0, 256, (28, 28, 3), np.uint8)


def test_lightness_rises_evenly() -> None:
    light = colors() @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()
    assert colors().shape == (256, 3)


def test_small_pictures_are_enlarged_by_a_whole_factor() -> None:
    assert overlay(TINY, np.zeros((7, 7))).size == (224, 224)
    assert heatmap(np.zeros((7, 7)), size=(28, 28)).size == (224, 224)
    assert mask_image(PHOTO, np.zeros((240, 300), bool)).size == (300, 240)


def test_what_is_not_salient_stays_as_it_was() -> None:
    heat = np.zeros((6, 6))
    heat[0, 0] = 2.0
    found = np.asarray(overlay(PHOTO, heat))
    assert np.array_equal(found[120:, 150:], PHOTO[120:, 150:])
    assert not np.array_equal(found[:20, :20], PHOTO[:20, :20])


def test_the_image_shows_through_where_it_is_most_salient() -> None:
    heat = np.zeros((6, 6))
    heat[:3] = 1.0
    black, white = (np.full((240, 240, 3), v, np.uint8) for v in (0, 255))
    difference = np.asarray(overlay(white, heat), int) - np.asarray(overlay(black, heat), int)
    assert difference[:100].min() >= 100


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_a_constant_or_broken_map_colours_nothing(value: float) -> None:
    assert np.array_equal(np.asarray(overlay(PHOTO, np.full((7, 7), value))), PHOTO)


def test_the_scale_of_a_map_does_not_matter() -> None:
    heat = np.random.default_rng(0).random((7, 7))
    one, other = (np.asarray(heatmap(h, size=(224, 224)), int) for h in (heat, heat * 1e-6))
    assert np.abs(one - other).max() <= 4


def test_masked_pixels_are_black_inside_an_outline() -> None:
    mask = np.zeros((28, 28), bool)
    mask[4:10, 4:10] = True
    found = np.asarray(mask_image(TINY, mask))
    assert (found[40:72, 40:72] == 0).all()
    assert (found[32, 32:80] == (255, 122, 0)).all()
    kept = ~mask.repeat(8, 0).repeat(8, 1)
    assert np.array_equal(found[kept], TINY.repeat(8, 0).repeat(8, 1)[kept])


def test_a_png_opens_again() -> None:
    data = png(overlay(TINY, np.eye(7)))
    assert data.startswith(b"\x89PNG")
    assert Image.open(io.BytesIO(data)).size == (224, 224)


def test_thumbnails_keep_their_shape_and_are_never_enlarged() -> None:
    image = Image.new("RGB", (300, 150))
    assert thumbnail(image, side=100).size == (100, 50)
    assert thumbnail(image, side=400).size == (300, 150)
    assert thumbnail(Image.new("RGB", (900, 1)), side=90).size == (90, 1)


def test_a_strip_shows_each_picture_once_with_nothing_between_them() -> None:
    reds = [Image.new("RGB", (40, 40), (value, 0, 0)) for value in (50, 150, 250)]
    row = strip(reds, side=20, gap=3)
    assert (row.size, row.mode) == ((66, 20), "RGBA")
    assert [row.getpixel((x, 10)) for x in (10, 33, 56)] == [
        (50, 0, 0, 255),
        (150, 0, 0, 255),
        (250, 0, 0, 255),
    ]
    assert row.getpixel((21, 10)) == (0, 0, 0, 0)
