"""The painted shortcut as properties: exact counts, nothing else changed, and who gets it."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from masktune.contract.hyperparameters import BiasAssignment, BiasKind
from models.data.importing.biased import BLUE, KIND_NAMES, PAINTERS, RED, SQUARE, bias_images

IMAGES = np.zeros((200, 10, 10, 3), dtype=np.uint8)
LABELS = np.repeat([0, 1], 100)
KINDS: tuple[BiasKind, ...] = get_args(BiasKind)


def _digits(count: int) -> NDArray[np.uint8]:
    """Grey strokes on black, equal in the three channels."""
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (count, 12, 12)) * (rng.random((count, 12, 12)) < 0.4)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


@settings(max_examples=20, deadline=None)
@given(
    labels=st.lists(st.integers(0, 1), min_size=1, max_size=60),
    ratio=st.floats(0, 1),
    kind=st.sampled_from(KINDS),
    assignment=st.sampled_from(get_args(BiasAssignment)),
    seed=st.integers(0, 2**32 - 1),
)
def test_counts_are_exact_and_only_the_chosen_ones_change(
    labels: list[int], ratio: float, kind: BiasKind, assignment: BiasAssignment, seed: int
) -> None:
    images, classes = _digits(len(labels)), np.array(labels)
    before = images.copy()
    result = bias_images(
        images, classes, kind=kind, ratio=ratio, assignment=assignment, rng=np.random.default_rng(seed)
    )
    for label, share in ((0, ratio), (1, 1 - ratio)):
        mine = classes == label
        assert result.painted[mine].sum() == round(share * mine.sum())
    assert (result.images[~result.painted] == images[~result.painted]).all()
    assert (result.images[result.painted] == PAINTERS[kind](images[result.painted])).all()
    assert (images == before).all()
    again = bias_images(
        images, classes, kind=kind, ratio=ratio, assignment=assignment, rng=np.random.default_rng(seed)
    )
    assert (again.images == result.images).all()


def test_a_square_changes_its_corner_alone() -> None:
    images = _digits(20)
    corner, rest = np.s_[:, :SQUARE, :SQUARE], np.ones((12, 12), bool)
    rest[:SQUARE, :SQUARE] = False
    painted = PAINTERS["square"](images)
    assert (painted[corner] == RED).all()
    assert (painted[:, rest] == images[:, rest]).all()


def test_two_squares_are_red_left_and_blue_right() -> None:
    images = _digits(20)
    painted = PAINTERS["two_squares"](images)
    assert (painted[:, :SQUARE, :SQUARE] == RED).all()
    assert (painted[:, :SQUARE, -SQUARE:] == BLUE).all()
    assert (painted[:, SQUARE:] == images[:, SQUARE:]).all()
    between = np.s_[:, :SQUARE, SQUARE:-SQUARE]
    assert (painted[between] == images[between]).all()


def test_background_and_foreground_share_the_picture() -> None:
    images = _digits(20)
    ink = (images > 0).any(-1)
    background, foreground = PAINTERS["background"](images), PAINTERS["foreground"](images)
    assert (background[~ink] == RED).all()
    assert (background[ink] == images[ink]).all()
    assert (foreground[ink] == RED).all()
    assert (foreground[~ink] == 0).all()


def test_order_takes_the_first_of_each_class() -> None:
    painted = bias_images(
        IMAGES, LABELS, ratio=0.99, assignment="order", rng=np.random.default_rng(0)
    ).painted
    assert np.flatnonzero(~painted[:100]).tolist() == [99]
    assert np.flatnonzero(painted[100:]).tolist() == [0]


def test_random_spreads_over_the_class() -> None:
    painted = bias_images(IMAGES, LABELS, ratio=0.5, rng=np.random.default_rng(0)).painted
    assert 10 < painted[:50].sum() < 40
    other = bias_images(IMAGES, LABELS, ratio=0.5, rng=np.random.default_rng(1)).painted
    assert painted.tolist() != other.tolist()


def test_wrong_arguments_are_value_errors() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="labels 0 or 1"):
        bias_images(IMAGES, LABELS + 1, rng=rng)
    with pytest.raises(ValueError, match="ratio"):
        bias_images(IMAGES, LABELS, ratio=1.5, rng=rng)
    with pytest.raises(ValueError, match="kind must be"):
        bias_images(IMAGES, LABELS, kind="circle", rng=rng)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match="assignment"):
        bias_images(IMAGES, LABELS, assignment="sorted", rng=rng)  # type: ignore[arg-type]  # that is the test


def test_every_kind_has_a_painter_and_a_name() -> None:
    assert set(PAINTERS) == set(KIND_NAMES) == set(KINDS)
    for painter in PAINTERS.values():
        assert painter(_digits(0)).shape == (0, 12, 12, 3)
