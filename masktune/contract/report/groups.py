"""The groups of training samples that a last layer was balanced over, by how they were found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from masktune.contract.report.base import Proportion, Section
from masktune.contract.vocabulary import Arm


class GroupExample(Section):
    """A sample of a group, and its picture as a file beside the report."""

    sample: int
    path: str
    image: str


class GroupSlice(Section):
    """One group: its share of the training split, each model's accuracy on it, and how many of its samples
    have each label of the data set's own groups."""

    name: str
    inferred: bool
    n: int
    share: float
    accuracies: dict[Arm, Proportion]
    true_groups: dict[str, int] | None
    examples: list[GroupExample]


class _BalancedGroups(Section):
    """`held_out` says for each model whether its accuracies are on samples that its head was not fitted on.
    `penalty` is the strength of the L2 penalty of the retrained head."""

    inferred: bool
    divided: bool = Field(description="Whether any class has more than one group.")
    split: str
    n: int
    penalty: float
    control_penalty: float | None
    held_out: dict[Arm, bool]
    slices: list[GroupSlice]


class NoDetails(Section):
    """Nothing more to know of how the groups were made."""


class MistakeDetails(Section):
    """The heads that judged the samples: their penalty, its held-out losses, and how many samples each round
    flagged."""

    judge_penalty: float
    judge_losses: dict[str, float]
    threshold: float
    flagged: list[int]


class ClusterDetails(Section):
    """The silhouette of each class's division, by class."""

    silhouettes: dict[str, float | None]


class LabelledGroups(_BalancedGroups):
    """The data set's own groups."""

    source: Literal["labels"]
    details: NoDetails


class MistakeGroups(_BalancedGroups):
    """Groups inferred from the mistakes of heads that were fitted without the sample."""

    source: Literal["cross_mistakes"]
    details: MistakeDetails | NoDetails


class DisagreementGroups(_BalancedGroups):
    """Groups inferred from the samples on which two models disagree."""

    source: Literal["disagreement"]
    details: NoDetails


class SaliencyGroups(_BalancedGroups):
    """Groups inferred from clusters of saliency maps."""

    source: Literal["saliency_clusters"]
    details: ClusterDetails | NoDetails


BalancedGroups = Annotated[
    LabelledGroups | MistakeGroups | DisagreementGroups | SaliencyGroups, Field(discriminator="source")
]
