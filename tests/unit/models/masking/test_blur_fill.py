"""The fill `blur` is a Gaussian of a tenth of the image's shorter side, by somebody else's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from models.masking.rule import apply_masks


@pytest.mark.parametrize(("height", "width"), [(20, 20), (20, 30), (32, 18), (64, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_scipys_gaussian_of_a_tenth_of_the_shorter_side(
    height: int, width: int, dtype: torch.dtype
) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)
    found = apply_masks(images, torch.ones(2, height, width, dtype=torch.bool), "blur")
    assert found.dtype == dtype
    side = min(height, width)
    # To three sigmas, mirrored at the border without doubling it; no channel and no image is another's.
    expected = gaussian_filter(
        images.double().numpy(), (0, 0, 0.1 * side, 0.1 * side), mode="mirror", radius=round(0.3 * side)
    )
    assert np.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_the_smallest_images_are_blurred_too(side: int) -> None:
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = apply_masks(images, torch.ones(1, side, side, dtype=torch.bool), "blur")
    assert torch.isfinite(found).all()
    assert found.min() >= images.min() - 1e-6
    assert found.max() <= images.max() + 1e-6
