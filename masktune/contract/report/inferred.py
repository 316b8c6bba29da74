"""Groups of every split that nobody labelled: label × the pattern that an image shows."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.report.base import Proportion, Section
from masktune.contract.report.groups import GroupExample, GroupReason
from masktune.contract.vocabulary import Arm


class PartAccuracies(Section):
    """Each model's accuracy on the images that lack the pattern of their class, or on the rest."""

    n: int
    accuracies: dict[Arm, Proportion]


class MixPoint(Section):
    """What the accuracy would be if `share` of each class lacked its pattern, with its 95 % interval: the
    mean over the classes that have images of both kinds, at their shares of the split."""

    share: float
    accuracy: float
    low: float
    high: float


class InferredSplit(Section):
    """The groups of one split of `n` images."""

    n: int
    lacking: PartAccuracies
    rest: PartAccuracies
    rest_alike: dict[Arm, float] = Field(
        {},
        description="Each model's accuracy on the rest, with each class as often as among the images that "
        "lack the pattern; classes without a rest do not count. Older reports have none.",
    )
    mix: dict[Arm, list[MixPoint]] = Field(
        {}, description="Each model's accuracy on another mix of the two: an estimate, never certified."
    )


class WorstGroups(Section):
    """A model's worst group by the inferred groups and by the data set's own."""

    inferred: float
    labelled: float


class GuessPrecision(Section):
    """How many of the images that were drawn at random from those that seem to lack the pattern do lack it,
    as a person said: the share's one-sided 97.5 % lower bound is `low`. `at_bound` is each model's accuracy
    on the test images that truly lack the pattern if only that share of the inferred ones did; empty if that
    share is 0, or either part of the test split has no image."""

    answers: int
    lacking: int
    low: float
    at_bound: dict[Arm, float]


class InferredGroups(Section):
    """Which images lack the pattern that the others of their class share, as an early stage of the network
    sees it. A guess: nobody labelled these groups.

    `decide`: the figures by group and the verdict rest on them. They do not where the data set has groups of
    its own, or where the stages did not agree and nobody confirmed the images.
    """

    decide: bool
    model: str = Field(description="Id of the model whose network sees the pattern.")
    stage: str = Field(description="The module of the network.")
    reason: GroupReason
    splits: dict[str, InferredSplit] = Field(description="By split.")
    comparison: dict[Arm, WorstGroups] = Field(
        {}, description="On test, where the data set has groups of its own, which then decide."
    )
    examples: list[GroupExample] = Field([], description="Test images that lack the pattern, at most eight.")
    wrong_labels: list[int] = Field(
        [], description="Samples of all splits whose label looks wrong, surest first, at most 200."
    )
    labels_look_wrong: dict[str, int] = Field({}, description="How many there are, by split.")
    wrong_labels_weigh_less: bool = Field(
        True,
        description="Whether they weigh less in training. They do not where nearly all are of one class: "
        "hard images of a rare group look the same.",
    )
    worst_groups_without_wrong_labels: dict[Arm, float] = Field(
        {}, description="Each model's worst group on test without them, where there are any."
    )
    precision: GuessPrecision | None = None

    @property
    def test(self) -> InferredSplit | None:
        """The groups of the test split, if that was evaluated."""
        return self.splits.get("test")

    @property
    def n_wrong_labels(self) -> int:
        """Samples of all splits whose label looks wrong."""
        return sum(self.labels_look_wrong.values())
