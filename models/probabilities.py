"""Log-probabilities from logits, in float64. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.types import Floats, Labels


def log_softmax(logits: NDArray[np.float32]) -> Floats:
    """Log-probabilities (N, K), float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def of_label(log_probabilities: Floats, labels: Labels) -> Floats:
    """Pick each sample's value for its own label: (N, K) → (N,)."""
    return np.asarray(log_probabilities[np.arange(len(labels)), labels])
