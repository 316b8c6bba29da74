"""Where the models look: mean maps, the share of saliency that moved, the gallery."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.report.base import Section
from masktune.contract.vocabulary import Arm

GalleryRule = Literal["most_masked", "most_changed", "disagreeing", "mistaken", "ordinary"]


class SaliencyShift(Section):
    """The share of saliency (0..1) that moved between two models: mean over `n` images, quartiles, and 95 %
    interval; null without an image. `undefined` images have an empty map."""

    name: str
    n: int
    undefined: int
    mean: float | None
    low: float | None
    high: float | None
    quartiles: tuple[float, float, float] | None


class SaliencyShifts(Section):
    """The share of saliency that moved, over all images and in each class."""

    all: SaliencyShift
    classes: list[SaliencyShift]


class MeanMap(Section):
    """Mean of the maps (h, w) of one class, each scaled to sum to 1, and the standard error at each place."""

    id: int
    name: str
    n: int
    undefined: int
    map: list[list[float]] | None
    error: list[list[float]] | None


class ClassPicture(Section):
    """The mean image of one class, and each model's mean map as a layer over it: files beside the report."""

    class_name: str
    n: int
    n_averaged: int
    image: str
    heatmaps: dict[Arm, str]


class SaliencySummary(Section):
    """Where the models look in `n` of the `split_size` images. `left_out` classes have no mean map."""

    split: str
    n: int
    split_size: int
    before: Arm
    after: Arm | None
    shift: SaliencyShifts | None
    mean_maps: dict[Arm, list[MeanMap]]
    pictures: list[ClassPicture]
    left_out: list[str]


class GalleryAnswer(Section):
    """One model on one image: its answer, and layers over the item's `image`, as files beside the report."""

    label: str
    probability: float | None = Field(description="Null if an output is not a finite number.")
    correct: bool
    heatmap: str
    mask: str = Field(description="The masked pixels, as finetuning replaces them.")
    mask_outline: str | None = Field(description="Null in reports of version 3 and before.")


class GalleryItem(Section):
    """One image under each model. `shift` is the share of saliency that moved; null for an empty map."""

    sample: int
    path: str
    label: str
    group: str | None
    rule: GalleryRule
    shift: float | None
    masked_share: float
    image: str
    arms: dict[Arm, GalleryAnswer]


class Gallery(Section):
    """The same images under each model, chosen from `pool` images by rules, never by hand."""

    rules: dict[GalleryRule, str] = Field(description="Each rule that chose an image, in words.")
    class_balanced_order: str = Field(description="How the classes take part.")
    split: str
    pool: int
    items: list[GalleryItem]
