"""How a loader makes batches of its images: their side, number, augmentation and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from masktune.contract.hyperparameters import Augmentation, Crop


class MaskSource(Protocol):
    """Gives the mask of each sample."""

    @property
    def digest(self) -> str:
        """Equal if the masks of all samples are equal, whatever produced them."""

    def masks(self, rows: Tensor, size: int, device: torch.device) -> Tensor:
        """Masks of the samples `rows` (B,) int64 on the CPU: (B, size, size) bool, true where masked."""


class Masking(NamedTuple):
    """`fill(images (B, 3, S, S), masks (B, S, S))` returns the images with the masked pixels filled."""

    source: MaskSource
    fill: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LoaderSettings:
    """`workers` None picks a number that suits the machine.
    With `masking`, each image is masked first.

    `crop` is for saliency maps only: a loader that masks does not crop. With `several_epochs`,
    small squares are kept once decoded.
    """

    image_size: int
    batch_size: int
    augmentation: Augmentation = "none"
    masking: Masking | None = None
    workers: int | None = None
    crop: Crop = "none"
    several_epochs: bool = False
