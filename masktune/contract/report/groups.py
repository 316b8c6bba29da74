"""The groups of training samples that a last layer was balanced over, by how they were found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from masktune.contract.report.base import Proportion, Section
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.vocabulary import Arm

GroupReason = Literal[
    "stages_agree",
    "class_is_low_level",
    "stages_disagree",
    "too_few_mistakes",
    "too_many_mistakes",
    "wrong_labels",
    "too_few_stages",
    "too_many_classes",
    "opened",
    "closed",
]
"""Why early stages named a minority (the first two, and `opened`), or did not; `opened` and `closed` by a
person who looked at the images."""


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
    divided_by_seed: dict[int, bool] = Field(
        default={}, description="The same for each seed of a job with several; else empty."
    )
    split: str
    n: int
    penalty: float
    control_penalty: float | None
    held_out: dict[Arm, bool]
    slices: list[GroupSlice]


class NoDetails(Section):
    """Nothing more to know of how the groups were made."""


class LabelDetails(Section):
    """On how few images the balance rests."""

    smallest: int | None = Field(
        None,
        description="Distinct training images of the smallest class × group; copies, and images of one "
        "subject, count once. null in older reports.",
    )


class MistakeDetails(Section):
    """The heads that judged the samples: their penalty, its held-out losses, and how many samples each round
    flagged."""

    judge_penalty: float
    judge_losses: dict[str, float]
    threshold: float
    flagged: list[int]


class StageAgreement(Section):
    """Two early stages of a network, by name: how many images the judges of each get wrong, the Jaccard index
    (0..1) of these two sets, and the least index at which the stages count as agreeing."""

    shallow: str
    deep: str
    flagged_shallow: int
    flagged_deep: int
    jaccard: float
    required: float


class EarlyStageDetails(Section):
    """Why the samples were divided, or were not. `stage` is the module whose judges were taken: null for the
    last features, or if no class was divided. The penalty and the counts of mistakes are those judges'."""

    reason: GroupReason
    stage: str | None
    agreements: list[StageAgreement]
    judge_penalty: float | None = None
    flagged: list[int] = Field(default=[], description="Mistakes before and after each round.")
    candidates: list[int] = Field(
        default=[], description="Samples that most likely lack the pattern of their class, surest first."
    )
    random_candidates: list[int] = Field(
        default=[],
        description="Those of them that were drawn at random from all samples that seem to lack it.",
    )
    label_precision: dict[str, Proportion] = Field(
        default={},
        description="By class, where the data set has groups of its own: of the training images in groups "
        "that lack the pattern, how many are outside the largest labelled group of the class.",
    )
    label_recall: dict[str, Proportion] = Field(
        default={},
        description="By class: of the training images outside that group, how many were taken to lack the "
        "pattern.",
    )
    image_answers: ReportImageAnswers | None = Field(
        None,
        validation_alias=AliasChoices("image_answers", "review"),  # the second in reports of 0.1.0
        description="The answers that decided the gate, if any did.",
    )

    @property
    def searched(self) -> bool:
        """Whether samples that lack a pattern were looked for."""
        return self.reason not in ("too_few_stages", "too_many_classes")


class LabelledGroups(_BalancedGroups):
    """The data set's own groups."""

    source: Literal["labels"]
    details: LabelDetails


class EarlyStageGroups(_BalancedGroups):
    """Groups inferred from the mistakes of heads on early stages of the network; the classes alone, and then
    not `inferred`, if the stages did not name a minority."""

    source: Literal["early_stages"]
    details: EarlyStageDetails


class MistakeGroups(_BalancedGroups):
    """Groups inferred from the mistakes of heads that were fitted without the sample."""

    source: Literal["cross_mistakes"]
    details: MistakeDetails | NoDetails


BalancedGroups = Annotated[
    LabelledGroups | EarlyStageGroups | MistakeGroups,
    Field(discriminator="source"),
]
