"""Augmentations are functions of the image and its numbers: shapes, range, independence of the batch."""

from __future__ import annotations

import typing

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masktune.contract.hyperparameters import Augmentation
from models.data.loading import augment as augmentations
from models.data.loading.augment import RECIPES
from tests.support.tensors import assert_close

NAMES = typing.get_args(Augmentation)


def _draws(name: Augmentation, count: int, seed: int) -> Tensor:
    return torch.rand(count, RECIPES[name].numbers, generator=torch.Generator().manual_seed(seed))


def augment(name: Augmentation, images: Tensor, u: Tensor) -> Tensor:
    return augmentations.augment(name, images, RECIPES[name].plan(u, (images.shape[2], images.shape[3])))


def test_every_name_has_a_recipe() -> None:
    assert set(RECIPES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**31), side=st.integers(8, 24))
@settings(max_examples=8, deadline=None)
def test_an_image_changes_alike_whoever_shares_the_batch(name: Augmentation, seed: int, side: int) -> None:
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(seed))
    u = _draws(name, 3, seed)
    together = augment(name, images, u)
    alone = torch.cat([augment(name, images[i : i + 1], u[i : i + 1]) for i in range(3)])
    assert together.shape == images.shape
    assert_close(together, alone)
    assert together.isfinite().all()


@pytest.mark.parametrize("name", ["flip", "pad_crop"])
def test_moves_of_whole_pixels_make_up_no_value(name: Augmentation) -> None:
    images = torch.rand(16, 3, 12, 12)
    changed = augment(name, images, _draws(name, 16, 0))
    for before, after in zip(images, changed, strict=True):
        assert set(after.flatten().tolist()) <= {*before.flatten().tolist(), 0.0}


def test_flip_mirrors_below_a_half_only() -> None:
    images = torch.rand(2, 3, 8, 8)
    changed = augment("flip", images, torch.tensor([[0.2], [0.7]]))
    assert torch.equal(changed[0], images[0].flip(2))
    assert torch.equal(changed[1], images[1])


def test_pad_crop_in_the_middle_is_the_image() -> None:
    images = torch.rand(1, 3, 32, 32)
    middle = torch.full((1, 2), 4.5 / 9)  # the fifth of nine places: no shift
    assert torch.equal(augment("pad_crop", images, middle), images)
    corner = augment("pad_crop", images, torch.zeros(1, 2))
    assert torch.equal(corner[..., 4:, 4:], images[..., :28, :28])
    assert corner[..., :4, :].abs().max() == 0


def test_affine_and_crop_at_their_middle_are_the_image() -> None:
    images = torch.rand(1, 3, 16, 16)
    still = torch.tensor([[0.9, 0.5, 0.5, 0.5]])
    assert_close(augment("flip_affine", images, still), images, atol=1e-5, rtol=0)
    whole = torch.tensor([[0.9, 1.0, 0.5, 0.5, 0.5]])
    assert_close(augment("crop_flip", images, whole), images, atol=1e-5, rtol=0)


@given(seed=st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_a_crop_shows_nothing_from_outside_the_image(seed: int) -> None:
    white = torch.ones(4, 3, 16, 16)
    assert_close(augment("crop_flip", white, _draws("crop_flip", 4, seed)), white)
