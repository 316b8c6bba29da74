"""A loader of images in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.data.loading.batches import Batch


def noise(images: int, *, seed: int = 0) -> Tensor:
    """Images (N, 3, 16, 16) of random pixels."""
    return torch.rand(images, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


class Batches:
    """Images (N, 3, H, W) in stored order, in batches of one size or of each of several.

    Labels are 0, 1, 0 … and rows 0, 1, 2 … unless others are given.
    """

    def __init__(
        self, pixels: Tensor, *sizes: int, labels: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        numbers = torch.arange(len(pixels))
        self.pixels = pixels
        self.labels = numbers % 2 if labels is None else labels
        self._rows = numbers if rows is None else rows
        self._parts: Sequence[Tensor] = numbers.split(list(sizes) if len(sizes) > 1 else sizes[0])  # type: ignore[no-untyped-call]  # torch's own

    @property
    def images(self) -> int:
        return len(self.pixels)

    def __len__(self) -> int:
        return len(self._parts)

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        assert generator is None
        for part in self._parts:
            yield Batch(self.pixels[part], self.labels[part], self._rows[part])
