"""Pictures: size, what shows through, what is black, and files that open."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.runtime.images import (
    STRENGTH,
    colors,
    heatmap,
    legible,
    legible_size,
    mask_layer,
    mask_outline,
    overlay,
    png,
    thumbnail,
)

PHOTO = np.random.default_rng(0).integers(0, 256, (240, 300, 3), np.uint8)
TINY = np.random.default_rng(1).integers(0, 256, (28, 28, 3), np.uint8)


def test_lightness_rises_evenly() -> None:
    light = colors() @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 0).all()
    assert colors().shape == (256, 3)


def rgba(layer: Image.Image) -> NDArray[np.int64]:
    return np.asarray(layer.convert("RGBA"), np.int64)


def test_small_images_are_enlarged_by_a_whole_factor() -> None:
    assert np.array_equal(np.asarray(legible(TINY)), TINY.repeat(8, 0).repeat(8, 1))
    assert overlay(TINY, np.zeros((7, 7))).size == (224, 224)
    assert legible(PHOTO).size == (300, 240)
    for pixels in (PHOTO, TINY, TINY[:20], TINY[:, :20], TINY[:1, :1]):
        assert legible_size(pixels) == legible(pixels).size


def test_what_is_not_salient_is_the_image_in_grey() -> None:
    heat = np.zeros((6, 6))
    heat[0, 0] = 2.0
    pixels, grey = np.asarray(overlay(PHOTO, heat)), np.asarray(Image.fromarray(PHOTO).convert("L"))
    assert (pixels[120:, 150:] == grey[120:, 150:, None]).all()
    assert np.ptp(pixels[:20, :20], axis=2).min() > 0


@pytest.mark.parametrize("pixels", [PHOTO, TINY])
def test_an_overlay_is_its_layer_over_the_grey_image(pixels: NDArray[np.uint8]) -> None:
    heat = np.random.default_rng(2).random((7, 7))
    grey = np.asarray(legible(pixels).convert("L"), float)[:, :, None]
    layer = rgba(heatmap(heat, legible_size(pixels), strength=STRENGTH))
    opacity = layer[:, :, 3:] / 255
    drawn = overlay(pixels, heat)
    assert np.abs(opacity * layer[:, :, :3] + (1 - opacity) * grey - np.asarray(drawn)).max() < 1
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(drawn)))), np.asarray(drawn))


def test_the_image_shows_through_where_it_is_most_salient() -> None:
    heat = np.zeros((6, 6))
    heat[:3] = 1.0
    black, white = (np.full((240, 240, 3), v, np.uint8) for v in (0, 255))
    difference = np.asarray(overlay(white, heat), int) - np.asarray(overlay(black, heat), int)
    assert difference[:100].min() >= 60


def test_the_opacity_of_a_layer_follows_the_map() -> None:
    layer = rgba(heatmap(np.array([[0.0, 1.0, 2.0]]), (300, 10)))
    assert layer[5, [20, 150, 280], 3].tolist() == [0, 128, 255]
    assert (np.diff(layer[5, :, 3]) >= 0).all()


@pytest.mark.parametrize("value", [0.0, 5.0, np.nan, np.inf])
def test_a_constant_or_broken_map_colours_nothing(value: float) -> None:
    assert (rgba(heatmap(np.full((7, 7), value), (300, 240)))[:, :, 3] == 0).all()


def test_the_scale_of_a_map_does_not_matter() -> None:
    heat = np.random.default_rng(0).random((7, 7))
    one, other = (rgba(heatmap(h, (224, 224))) for h in (heat, heat * 1e-6))
    assert np.abs(one - other).max() <= 4


def test_a_mask_layer_has_the_masked_pixels_as_they_were_filled_and_nothing_else() -> None:
    mask = np.zeros((28, 28), bool)
    mask[4:10, 4:10] = True
    layer, large = rgba(mask_layer(TINY, mask, (224, 224))), mask.repeat(8, 0).repeat(8, 1)
    assert np.array_equal(layer[large, :3], TINY.repeat(8, 0).repeat(8, 1)[large])
    assert np.array_equal(layer[:, :, 3], np.where(large, 255, 0))
    assert (layer[~large] == 0).all()


def test_an_outline_is_light_within_the_mask_and_dark_around_it() -> None:
    mask = np.zeros((28, 28), bool)
    mask[4:10, 4:10] = True
    row = rgba(mask_outline(mask, (224, 224)))[56]  # the mask is at 32..79
    light, dark, nothing = [255, 255, 255, 255], [0, 0, 0, 255], [0, 0, 0, 0]
    assert row[[29, 30, 31, 32, 33, 34]].tolist() == [nothing, dark, dark, light, light, nothing]
    assert row[[77, 78, 79, 80, 81, 82]].tolist() == [nothing, light, light, dark, dark, nothing]


def test_an_outline_is_closed_at_the_edge_of_the_image() -> None:
    outline = rgba(mask_outline(np.ones((10, 10), bool), (224, 224)))
    assert (outline[0, :, 3] == 255).all()
    assert (outline[4:-4, 4:-4, 3] == 0).all()
    assert (rgba(mask_outline(np.zeros((10, 10), bool), (224, 224))) == 0).all()


def test_a_layer_is_as_transparent_in_its_file() -> None:
    layer = heatmap(np.eye(7), (224, 224))
    data = png(layer)
    assert data.startswith(b"\x89PNG")
    assert np.array_equal(rgba(Image.open(io.BytesIO(data))), rgba(layer))


def test_thumbnails_keep_their_shape_and_are_never_enlarged() -> None:
    image = Image.new("RGB", (300, 150))
    assert thumbnail(image, side=100).size == (100, 50)
    assert thumbnail(image, side=400).size == (300, 150)
    assert thumbnail(Image.new("RGB", (900, 1)), side=90).size == (90, 1)
