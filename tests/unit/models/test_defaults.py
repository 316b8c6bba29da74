"""Defaults fit the data, and can be had without torch."""

from __future__ import annotations

from typing import Any

import pytest

from models.backbones import small as backbones_own
from models.backbones.weights import PACKAGED
from models.defaults import OWN_BACKBONES, default_hyperparameters


@pytest.mark.parametrize(
    ("side", "n_train", "asked", "expected"),
    [
        (8, 500, None, ("small_cnn", 28, 32)),
        (28, 48_000, None, ("small_cnn", 28, 128)),
        (64, 500, None, ("small_cnn", 64, 32)),
        (28, 500, "resnet18", ("resnet18", 224, 32)),
        (64, 500, "timm/vit_tiny_patch16_224", ("timm/vit_tiny_patch16_224", 224, 32)),
        (8, 500, "resnet32", ("resnet32", 28, 32)),
        (500, 500, "small_cnn", ("small_cnn", 224, 32)),
        (500, 500, "resnet18", ("resnet18", 224, 32)),
    ],
)
def test_a_backbone_gets_a_side_that_it_can_see(
    side: int, n_train: int, asked: str | None, expected: tuple[str, int, int]
) -> None:
    found = default_hyperparameters(side, n_train, 2, backbone=asked)
    assert (found.backbone, found.image_size, found.batch_size) == expected
    assert found.pretrained is False


@pytest.mark.parametrize(
    ("n_train", "epochs"), [(20, 15), (1_078, 3), (3_200, 1), (4_999, 1), (5_000, 3), (48_000, 1)]
)
def test_a_finetune_of_small_images_has_a_hundred_steps_but_no_more_epochs_than_erm(
    n_train: int, epochs: int
) -> None:
    assert default_hyperparameters(28, n_train, 2).finetune.epochs == epochs
    assert default_hyperparameters(224, n_train, 2).finetune.epochs == 1


@pytest.mark.parametrize(("side", "expected"), [(65, 65), (128, 128), (224, 224), (4000, 224), (None, 224)])
def test_photographs_train_the_last_layer_of_a_packaged_network(side: int | None, expected: int) -> None:
    photographs = default_hyperparameters(side, 10_000, 2)
    assert (photographs.backbone, photographs.pretrained) == ("timm/tf_efficientnet_lite0", True)
    assert photographs.backbone.removeprefix("timm/") in PACKAGED
    assert (photographs.freeze_backbone, photographs.augmentation) == (True, "none")
    assert (photographs.image_size, photographs.batch_size) == (expected, 128)


@pytest.mark.parametrize(
    ("request_", "pretrained", "frozen"),
    [
        ({"backbone": "resnet18"}, False, False),
        ({"backbone": "resnet18", "pretrained": True}, True, False),
        ({"backbone": "tf_efficientnet_lite0"}, True, True),
        ({"pretrained": False}, False, False),
        ({"pretrained": "mdl_1"}, "mdl_1", False),
        ({"pretrained": "mdl_1", "freeze_backbone": True}, "mdl_1", True),
        ({"freeze_backbone": False}, True, False),
    ],
)
def test_what_is_asked_for_decides_what_is_trained(
    request_: dict[str, Any], pretrained: bool | str, frozen: bool
) -> None:
    params = default_hyperparameters(128, 500, 2, **request_)
    assert (params.pretrained, params.freeze_backbone) == (pretrained, frozen)
    whole = ("crop_flip", 224)
    assert (params.augmentation, params.image_size) == (("none", 128) if frozen else whole)


def test_our_own_backbones_are_these() -> None:
    assert backbones_own.names() == OWN_BACKBONES


def test_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        default_hyperparameters(28, 100, 1)
