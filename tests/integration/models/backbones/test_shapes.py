"""The shapes of the weights of larger networks are known before these are built."""

from __future__ import annotations

import pytest

from tests.integration.models.backbones.test_build import shapes_are_those_told


@pytest.mark.parametrize(("name", "side"), [("regnet_y_400mf", 64), ("timm/beit_base_patch16_224", 64)])
def test_shapes_are_known_before_a_network_is_built(name: str, side: int) -> None:
    shapes_are_those_told(name, side)
