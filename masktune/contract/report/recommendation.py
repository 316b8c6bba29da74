"""Which of a job's models to use, why, and what to do next."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from masktune.contract.report.accuracy import SplitDifference
from masktune.contract.report.base import Section
from masktune.contract.report.data_steps import DataStep
from masktune.contract.vocabulary import Arm

RecommendationReason = Literal[
    "val_groups",
    "groups_labelled",
    "groups_inferred",
    "masktune_helped",
    "no_minority",
    "no_gain",
    "hurt",
    "not_above_chance",
    "new_images",
]
"""Why this model: the groups of validation decided, a last layer was balanced, or MaskTune helped; or why a
plain one, or none. `new_images`: they were brought to judge the models of a job."""


class WeakGroup(Section):
    """A group of the test split in which the recommended model is not above chance, or more than 20 points
    below its average. `train` counts the training images of each group, where there are any."""

    name: str
    accuracy: float
    train: dict[str, int] = {}


class UseModel(Section):
    """Point the alias that programs use at this model, or know that even the best is weak in a group."""

    step: Literal["use_model"]
    arm: Arm
    model: str
    weak_group: WeakGroup | None = None


class UseControl(Section):
    """Point the alias at this control: nothing that was tried, on the same budget, is better than it."""

    step: Literal["use_control"]
    arm: Arm
    model: str
    weak_group: WeakGroup | None = None


class AddTestImages(Section):
    """Bring test images in which the pattern is broken, `per_class` of each class, and label their groups.

    `subjects`, where samples have any: the images of each class should show at least so many.
    """

    step: Literal["add_test_images"]
    per_class: int
    subjects: int | None = None


class LabelMore(Section):
    """Bring more training images, until each class has `per_class`."""

    step: Literal["label_more"]
    per_class: int


class ReviewImages(Section):
    """Look at these training `samples`, those that most likely lack the pattern of their class, surest first.
    `PUT /jobs/{id}/image-answers` keeps the answer, and the next job on the data set goes by it."""

    step: Literal["review_images"]
    samples: list[int]


class CheckLabels(Section):
    """Look at these `samples`, of all splits, whose label looks wrong, surest first; there are `n`."""

    step: Literal["check_labels"]
    samples: list[int]
    n: int


class CompareNetworks(Section):
    """Compare a small network, trained from random weights, with the frozen one, whose features are weak: the
    best plain model on them has this balanced accuracy on the validation split, where guessing has `chance`.
    """

    step: Literal["compare_networks"]
    balanced_accuracy: float
    chance: float


class TrainMoreSeeds(Section):
    """Train MaskTune and its control with this many seeds: the whole network was trained once, and the
    verdict does not cover how far another training differs."""

    step: Literal["train_more_seeds"]
    seeds: int


NextStep = Annotated[
    UseModel
    | UseControl
    | AddTestImages
    | LabelMore
    | ReviewImages
    | CheckLabels
    | CompareNetworks
    | TrainMoreSeeds
    | DataStep,
    Field(discriminator="step"),
]


class Recommendation(Section):
    """The model to use, by a fixed rule; null if none has learned anything. `next` is what to do, the most
    important first."""

    arm: Arm | None
    model: str | None
    reason: RecommendationReason
    differences: list[SplitDifference] = Field(
        default=[],
        description="Where a plain model is to be used: each plain model minus each earlier one, and what "
        "shows that one is better than the model after.",
    )
    next: list[NextStep]

    @property
    def samples_to_review(self) -> list[int]:
        """Those of the step `review_images`; empty without it."""
        return next((step.samples for step in self.next if isinstance(step, ReviewImages)), [])

    @property
    def doubted_samples(self) -> list[int]:
        """Those of the step `check_labels` that it does not list; empty without it."""
        return [
            sample
            for step in self.next
            if isinstance(step, CheckLabels)
            for sample in step.samples
            if sample not in self.samples_to_review
        ]
