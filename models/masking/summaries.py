"""What is told of masks and of how their size was chosen. Without torch, for whoever only reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MaskSetSummary:
    """A summary of the masking stage.
    `masked_share` is masked pixels over all pixels, 0..1.

    `nothing_masked` counts the images without a masked pixel, `non_finite` those among them whose map is
    not finite: flat and non-finite maps mask nothing. The rate is of what took these `seconds`; None if all
    masks were there already.
    """

    images: int
    masked_share: float
    nothing_masked: int
    non_finite: int
    seconds: float
    images_per_second: float | None


Reason = Literal["plateau", "limit", "unspecific", "too_few_images"]
"""Why a number was chosen: larger masks cost the model no more (`plateau`), or they would, but are too large
(`limit`). The paper's number is kept where masks of a tolerated size cost the model nothing (`unspecific`),
and where the validation split is too small to measure it (`too_few_images`)."""


@dataclass(frozen=True)
class BalancedAccuracy:
    """The mean of the accuracies of the classes, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class DeletionPoint:
    """The model under masks of `sigmas`, which cover the mean share `masked_share` of an image."""

    sigmas: float
    masked_share: float
    own: BalancedAccuracy
    elsewhere: BalancedAccuracy


@dataclass(frozen=True)
class SigmasChoice:
    """The `sigmas` chosen for `auto`, and the curve on `n` validation images that it was read from.

    `plain` is the balanced accuracy with nothing masked, None where nothing was measured. The last point of
    the curve may be too large. `iterations` is how often to mask and finetune.
    """

    sigmas: float
    reason: Reason
    n: int
    plain: BalancedAccuracy | None = None
    curve: tuple[DeletionPoint, ...] = ()
    iterations: int = 1
