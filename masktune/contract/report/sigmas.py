"""How large the masks of the training images are, where a job left it open."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.report.base import Section


class BalancedAccuracy(Section):
    """The mean of the accuracies of the classes, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


class DeletionPoint(Section):
    """ERM under masks above mean + `sigmas`·std, which cover the share `masked_share` of an image: its `own`,
    and the same ones `elsewhere` in the image."""

    sigmas: float
    masked_share: float
    own: BalancedAccuracy
    elsewhere: BalancedAccuracy


class SigmasChoice(Section):
    """How `masking.sigmas = "auto"` was resolved, on `n` validation images.

    `plateau`: larger masks cost ERM no more. `limit`: they would, but are too large. The paper's number is
    kept with `unspecific`: masks small enough cost ERM nothing; `too_few_images`: nothing was measured.
    """

    sigmas: float
    reason: Literal["plateau", "limit", "unspecific", "too_few_images"]
    n: int
    plain: BalancedAccuracy | None
    curve: list[DeletionPoint] = Field(description="Ever larger masks.")
    iterations: int = Field(
        default=1, description="How often the images were masked and the model finetuned."
    )
