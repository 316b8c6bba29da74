"""The painted shortcut: exact counts, the right corner, and who gets it."""

from __future__ import annotations

import numpy as np
import pytest

from models.data.biased import SQUARE, bias_images

IMAGES = np.zeros((200, 10, 10, 3), dtype=np.uint8)
LABELS = np.repeat([0, 1], 100)


def test_counts_are_exact() -> None:
    painted = bias_images(IMAGES, LABELS, ratio=0.9, rng=np.random.default_rng(0)).painted
    assert (painted[:100].sum(), painted[100:].sum()) == (90, 10)


def test_only_the_corner_changes() -> None:
    result = bias_images(IMAGES, LABELS, rng=np.random.default_rng(0))
    shown = result.images[result.painted]
    assert (shown[:, :SQUARE, :SQUARE] == [255, 0, 0]).all()
    assert shown[:, SQUARE:].sum() == 0
    assert shown[:, :, SQUARE:].sum() == 0
    assert result.images[~result.painted].sum() == 0
    assert IMAGES.sum() == 0


def test_order_takes_the_first_of_each_class() -> None:
    painted = bias_images(
        IMAGES, LABELS, ratio=0.99, assignment="order", rng=np.random.default_rng(0)
    ).painted
    assert np.flatnonzero(~painted[:100]).tolist() == [99]
    assert np.flatnonzero(painted[100:]).tolist() == [0]


def test_ratio_zero_is_the_wrong_class() -> None:
    painted = bias_images(IMAGES, LABELS, ratio=0.0, rng=np.random.default_rng(0)).painted
    assert painted.tolist() == (LABELS == 1).tolist()


def test_wrong_arguments() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="labels 0 or 1"):
        bias_images(IMAGES, LABELS + 1, rng=rng)
    with pytest.raises(ValueError, match="kind must be"):
        bias_images(IMAGES, LABELS, kind="circle", rng=rng)  # type: ignore[arg-type]  # that is the test
