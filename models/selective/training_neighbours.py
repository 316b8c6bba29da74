"""How far an input is from the training images: by its nearest neighbours among the last layer's inputs.

Sun, Ming, Zhu and Li, Out-of-Distribution Detection with Deep Nearest Neighbors (2022). The distance is 1 −
the cosine to the k-th nearest training image. The threshold is the ⌈0.99 (n + 1)⌉-th smallest distance of n
held-out images (a conformal p-value: Bates et al., Testing for Outliers with Conformal p-values, 2023), so a
further input that is exchangeable with them is beyond it with a probability of at most 1 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from models.errors import LearningError
from models.runtime.files import replacing
from models.types import Bools, Floats32

NEIGHBOURS_FILE = "neighbours.safetensors"
"""Its name in the artifact of a calibration."""
NEIGHBOURS = 10
MOST_VECTORS = 2000
LEVEL = 0.01
LEAST_HELD_OUT = math.ceil(1 / LEVEL) - 1
"""Held-out images that a threshold takes: 99."""
_BLOCK = 1024  # inputs that are compared at once: 8 MiB of cosines


class NeighboursError(LearningError, ValueError):
    """The file holds no training neighbours. The message says why."""

    reason = "calibration_unusable"


@dataclass(frozen=True, eq=False)
class TrainingNeighbours:
    """`vectors` (M, D) are training images, each of length 1; an input further than `threshold` is unlike
    them."""

    vectors: Floats32
    threshold: float

    @classmethod
    def fit(cls, training: Floats32, held_out: Floats32) -> Self:
        """Of the last layer's inputs for M ≥ `NEIGHBOURS` training images and n ≥ `LEAST_HELD_OUT` others.

        Raises ValueError for fewer.
        """
        if len(training) < NEIGHBOURS or len(held_out) < LEAST_HELD_OUT:
            raise ValueError(f"it takes {NEIGHBOURS} training images and {LEAST_HELD_OUT} held-out ones")
        # Rounded as in the file, so that the threshold is of the distances that are computed later.
        vectors = _unit(training).astype(np.float16).astype(np.float32)
        distances = np.sort(cls(vectors, math.inf).distances(held_out))
        rank = math.ceil(round((1 - LEVEL) * (len(held_out) + 1), 9))
        return cls(vectors, float(distances[rank - 1]))

    def distances(self, values: Floats32) -> Floats32:
        """(N,), 0..2, of the last layer's inputs (N, D). An input that is not finite is infinitely far."""
        blocks = range(0, len(values), _BLOCK)
        return np.concatenate([self._distances(values[first : first + _BLOCK]) for first in blocks])

    def _distances(self, values: Floats32) -> Floats32:
        with np.errstate(invalid="ignore", over="ignore"):
            cosines = _unit(values) @ self.vectors.T  # (N, M)
        kth = np.partition(cosines, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS]
        return np.where(np.isfinite(values).all(1), 1 - kth, np.float32(np.inf))

    def unlike(self, values: Floats32) -> Bools:
        """(N,), true for each input that is unlike the training images."""
        return np.asarray(self.distances(values) > self.threshold)

    def save(self, file: Path) -> None:
        """Write one safetensors file, atomically; 2 bytes for each number of a vector."""
        arrays = {"vectors": self.vectors.astype(np.float16), "threshold": np.array(self.threshold)}
        with replacing(file) as out:
            out.write(save(arrays))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises NeighboursError for anything that `save` did not write, FileNotFoundError for no file."""
        try:
            arrays = load_file(file)
            vectors, threshold = arrays["vectors"].astype(np.float32), float(arrays["threshold"])
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise NeighboursError(f"{file.name} holds no training neighbours: {error}") from error
        if vectors.ndim != 2 or len(vectors) < NEIGHBOURS or not np.isfinite(vectors).all():
            raise NeighboursError(f"{file.name} holds no training neighbours: its vectors are damaged")
        return cls(vectors, threshold)


def _unit(values: Floats32) -> Floats32:
    """Each row at length 1; a row of zeros stays so, at distance 1 from everything."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
