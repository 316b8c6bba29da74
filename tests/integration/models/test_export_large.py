"""A file that does not fit is refused before a large network is built for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.export import ModelError, import_safetensors
from tests.integration.models.test_export import CLASSES, made

__all__ = ["made"]


@pytest.mark.parametrize("backbone", ["vit_giant_patch14_224", "beit_large_patch16_512", "regnet_y_128gf"])
def test_a_small_file_of_a_large_network_is_refused_before_it_is_built(
    tmp_path: Path, made: list[int], backbone: str
) -> None:
    """A thousand bytes took up to 15 GB, twice, in the process that serves."""
    save_file({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=f"does not fit {backbone}"):
        import_safetensors(tmp_path / "w.safetensors", backbone=backbone, classes=CLASSES, image_size=896)
    assert sum(made) == 0
