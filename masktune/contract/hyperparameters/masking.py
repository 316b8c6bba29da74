"""The parameters of masking, and of the training on masked images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from masktune.contract.hyperparameters.choices import Crop, Fill, Target
from masktune.contract.hyperparameters.parameters import Bounds, Doc, Parameters

PAPER_SIGMAS = 2.0
"""The threshold of the paper's masks."""


@dataclass(frozen=True)
class MaskingConfig(Parameters):
    """Which pixels are masked: those whose saliency is above mean + `sigmas`·std of its positive values, or
    the top `share`."""

    group = "/masking"

    method: Annotated[
        str, Doc("A saliency method, or `random`: the same number of pixels, at random places.")
    ] = "xgradcam"
    target: Target = "predicted"
    sigmas: Annotated[
        float | Literal["auto"],
        Bounds(ge=-10, le=10),
        Doc(
            "A lower number masks more. `auto`: the number at which the masks hide from ERM what it uses, "
            "measured on the validation split; the mask set and the report name it. Where masks that leave "
            "the image recognisable may not hide all of it, `auto` makes three `iterations`."
        ),
    ] = PAPER_SIGMAS
    share: Annotated[
        float | None,
        Bounds(gt=0, lt=1),
        Doc("Mask this share of each image's pixels, the most salient first. null: use `sigmas`."),
    ] = None
    iterations: Annotated[int, Bounds(ge=1, le=3)] = 1
    accumulate: bool = True
    fill: Fill = "black"
    crop: Annotated[
        Crop,
        Doc(
            "The part of the image that the map is computed from: `centre` is 7/8 of each side, `square` the "
            "central square on the shorter side. Its mask is stretched over the whole image: a fault of the "
            "paper's code on Waterbirds and CelebA, offered so that it can be measured."
        ),
    ] = "none"

    @property
    def fixed_sigmas(self) -> float:
        """`sigmas` as a number. Raises ValueError while it is `auto`, before a model has been measured."""
        if self.sigmas == "auto":
            raise ValueError("the masking's sigmas are still to be chosen")
        return self.sigmas

    def with_chosen(self, sigmas: float | None, iterations: int = 1) -> MaskingConfig:
        """`sigmas` in place of `auto`, or the paper's number if none was chosen, and at least so many
        iterations."""
        if self.sigmas != "auto":
            return self
        sigmas = PAPER_SIGMAS if sigmas is None else sigmas
        return replace(self, sigmas=sigmas, iterations=max(self.iterations, iterations))


@dataclass(frozen=True)
class FinetuneConfig(Parameters):
    """The training on masked images."""

    group = "/finetune"

    epochs: Annotated[
        int,
        Bounds(ge=1, le=1000),
        Doc("By default the paper's one; for images of up to 64 pixels as many as make 100 steps."),
    ] = 1
    learning_rate: Annotated[
        float | None, Bounds(gt=0, lt=1e3), Doc("null: the last learning rate of ERM.")
    ] = None
