"""Comparison of tensors."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, *, rtol: float = 1.3e-6, atol: float = 1e-5) -> None:
    """As `torch.testing.assert_close` for float32, which first imports a second's worth of torch."""
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual.detach().numpy(), expected.detach().numpy(), rtol, atol, strict=True)
