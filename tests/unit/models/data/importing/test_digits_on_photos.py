"""Digits over crops of photographs."""

from __future__ import annotations

import numpy as np

from models.data.importing.digits_on_photos import SIDE, draw_on_photographs

GREEN, BLUE = (0, 128, 0), (0, 0, 128)
PHOTOGRAPHS = [np.full((200, 300, 3), colour, np.uint8) for colour in (GREEN, BLUE)]


def test_without_a_stroke_only_the_photograph_of_the_place_shows() -> None:
    images = draw_on_photographs(
        np.zeros((3, 8, 8)), PHOTOGRAPHS, np.array([1, 0, 1]), np.random.default_rng(0)
    )
    assert images.shape == (3, SIDE, SIDE, 3)
    for image, colour in zip(images, (BLUE, GREEN, BLUE), strict=True):
        assert (image == colour).all()


def test_a_stroke_is_opaque_and_outlined_up_to_the_edge_of_its_cells() -> None:
    image = draw_on_photographs(np.ones((1, 8, 8)), PHOTOGRAPHS, np.array([0]), np.random.default_rng(0))[0]
    white, black, photograph = ((image == colour).all(-1) for colour in (255, 0, GREEN))
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    assert white[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.98  # round corners
    for side in (rows[0] - 2, rows[-1] + 2):
        assert black[side, columns[10]]
    assert (photograph[0] & photograph[-1]).all()
    assert (photograph[:, 0] & photograph[:, -1]).all()


def test_crops_are_other_parts_of_the_photograph_half_of_them_flipped() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (SIDE, 200, 3))
    images = draw_on_photographs(
        np.zeros((40, 8, 8)), [ramp], np.zeros(40, np.int64), np.random.default_rng(0)
    )
    flipped = images[:, 0, 0, 0] > images[:, 0, -1, 0]
    assert 10 < flipped.sum() < 30
    assert len(np.unique(images[~flipped, 0, 0, 0])) > 5
