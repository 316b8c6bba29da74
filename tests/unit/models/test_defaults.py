"""Defaults fit the data, and can be had without torch."""

from __future__ import annotations

import pytest

from models import backbones_own
from models.defaults import OWN_BACKBONES, default_hyperparameters


@pytest.mark.parametrize(
    ("side", "n_train", "expected"),
    [
        (8, 500, ("small_cnn", 28, 32)),
        (28, 48_000, ("small_cnn", 28, 128)),
        (64, 500, ("small_cnn", 64, 32)),
        (65, 500, ("resnet18", 224, 32)),
        (None, 10_000, ("resnet18", 224, 128)),
    ],
)
def test_defaults(side: int | None, n_train: int, expected: tuple[str, int, int]) -> None:
    found = default_hyperparameters(side, n_train, 2)
    assert (found.backbone, found.image_size, found.batch_size) == expected
    assert found.pretrained is False


@pytest.mark.parametrize(
    ("side", "backbone", "expected"),
    [
        (28, "resnet18", 224),
        (64, "timm/vit_tiny_patch16_224", 224),
        (8, "resnet32", 28),
        (500, "small_cnn", 224),
    ],
)
def test_a_backbone_that_is_asked_for_gets_a_side_that_it_can_see(
    side: int, backbone: str, expected: int
) -> None:
    found = default_hyperparameters(side, 500, 2, backbone=backbone)
    assert (found.backbone, found.image_size) == (backbone, expected)


def test_our_own_backbones_are_these() -> None:
    assert backbones_own.names() == OWN_BACKBONES


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        default_hyperparameters(28, 100, 1)
