"""Stages: which activations of each family are early, and what is pooled from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.backbones.build import build_network
from models.mitigation.stage_features import pool_stage
from models.mitigation.stages import Outputs, as_grid, early_stages, outputs_of

LITE0 = [("blocks.1.1", 24, 16), ("blocks.2.1", 40, 8), ("blocks.4.2", 112, 4)]
RESNET = [("layer1.1", 64, 16), ("layer2.1", 128, 8), ("layer3.1", 256, 4)]
CONVNEXT = [("stages.0", 40, 16), ("stages.1", 80, 8), ("stages.2", 160, 4)]
SWIN = [("features.1.1", 96, 16), ("features.3.1", 192, 8), ("features.5.5", 384, 4)]
SMALL_CNN = [("block1.5", 16, 24), ("block2.2", 32, 10), ("block2.5", 32, 8)]


@pytest.mark.parametrize(
    ("name", "side", "stages"),
    [
        ("timm/tf_efficientnet_lite0", 64, LITE0),
        ("resnet18", 64, RESNET),
        ("timm/convnext_atto", 64, CONVNEXT),
        ("swin_t", 64, SWIN),  # its activations have the channels last
        ("small_cnn", 28, SMALL_CNN),
        ("resnet32", 32, [("layer1.4", 16, 32), ("layer2.4", 32, 16)]),  # has only two before the last
    ],
)
def test_early_stages_end_the_octaves_before_the_last(
    name: str, side: int, stages: list[tuple[str, int, int]]
) -> None:
    network = build_network(name, classes=2, image_size=side)
    assert list(early_stages(network)) == stages


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("timm/vit_tiny_patch16_224", "blocks."),
        pytest.param("vit_b_16", "encoder.layers.encoder_layer_", marks=pytest.mark.library),
    ],
)
def test_a_network_with_one_grid_is_cut_by_depth(name: str, blocks: str) -> None:
    stages = early_stages(build_network(name, classes=2, image_size=64))
    assert [stage.name for stage in stages] == [f"{blocks}{number}" for number in (1, 3, 5)]
    assert {stage.side for stage in stages} == {4}


def test_a_stage_is_pooled_over_the_image_and_in_four_by_four_places() -> None:
    grid = torch.rand(2, 3, 8, 8)
    pooled = pool_stage(grid)
    assert pooled.shape == (2, 3 * (2 + 16 + 16))
    torch.testing.assert_close(pooled[:, :3], grid.mean((2, 3)))
    torch.testing.assert_close(pooled[:, 3:6], grid.flatten(2).std(2))
    torch.testing.assert_close(pooled[:, 6], grid[:, 0, :2, :2].mean((1, 2)))
    torch.testing.assert_close(pooled[:, -1], grid[:, -1, -2:, -2:].amax((1, 2)))


def test_a_grid_smaller_than_four_places_is_pooled_as_it_is() -> None:
    assert pool_stage(torch.rand(2, 3, 2, 2)).shape == (2, 3 * (2 + 4 + 4))


def test_tokens_and_channels_last_become_the_same_grid() -> None:
    grid = torch.rand(2, 5, 3, 3)
    tokens = torch.cat([torch.rand(2, 2, 5), grid.flatten(2).transpose(1, 2)], 1)  # behind two others
    for output in (grid, grid.permute(0, 2, 3, 1), tokens):
        np.testing.assert_array_equal(as_grid(output), grid)
    assert as_grid(torch.rand(2, 5)) is None
    assert as_grid((grid, grid)) is None


def test_outputs_are_read_before_a_later_layer_overwrites_them() -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    with outputs_of(network, ["block1.1", "block1.2"], lambda output: output.min().item()) as outputs:
        network(torch.rand(1, 3, 28, 28))
        (before, normalised), (after, rectified) = outputs.take()
        assert not outputs.take()
    assert (before, after) == ("block1.1", "block1.2")
    assert normalised < 0 == rectified  # the activation works in place
    assert isinstance(outputs, Outputs)
