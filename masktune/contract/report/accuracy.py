"""Accuracies of the models, their differences, and the verdict."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from masktune.contract.base import Shape
from masktune.contract.report.base import Proportion, Section, StatisticName
from masktune.contract.vocabulary import Arm

VerdictName = Literal["helped", "no_detectable_effect", "hurt", "not_testable"]
NotTestableReason = Literal[
    "no_groups",
    "one_group",
    "small_groups",
    "few_in_groups",
    "few_lacking",
    "shortcut_or_harm",
    "not_above_chance",
    "few_subjects",
    "one_class",
]


class SliceAccuracy(Proportion):
    """Accuracy of one class or group, with its 95 % Wilson interval."""

    id: int
    name: str


class ArmMetrics(Proportion):
    """Accuracies in 0..1 of one model on one split, each with its 95 % interval.

    `accuracy` is the plain mean, `balanced_accuracy` the mean over classes, `worst_*` the lowest class or
    group, `train_weighted_accuracy` the mean over groups by their share of the training split. Fields of
    groups are null where no groups are known. Classes and groups without a sample are left out.
    """

    balanced_accuracy: float
    balanced_accuracy_low: float | None = None
    balanced_accuracy_high: float | None = None
    worst_class: str
    worst_class_accuracy: float
    worst_class_accuracy_low: float | None = None
    worst_class_accuracy_high: float | None = None
    worst_group: str | None
    worst_group_accuracy: float | None
    worst_group_accuracy_low: float | None = None
    worst_group_accuracy_high: float | None = None
    train_weighted_accuracy: float | None
    train_weighted_accuracy_low: float | None = None
    train_weighted_accuracy_high: float | None = None
    classes: list[SliceAccuracy]
    groups: list[SliceAccuracy]

    def statistic(self, name: StatisticName) -> tuple[float | None, float | None, float | None]:
        """The statistic and the ends of its interval."""
        low, high = ("low", "high") if name == "accuracy" else (f"{name}_low", f"{name}_high")
        return getattr(self, name), getattr(self, low), getattr(self, high)


class Confusion(Section):
    """By arm: images of each class (rows) by answer (columns, and a last one for none)."""

    classes: list[str]
    counts: dict[Arm, list[list[int]]]


class Difference(Section):
    """A statistic of model a minus that of model b on the same `n` samples, as a share.

    `low` and `high` hold at `confidence`. `accuracy_a` and `accuracy_b` are the statistic of each, null in
    older reports. `a_only` and `b_only` count the samples that only a or only b got right. `strata` classes
    or groups were compared, the smallest of `smallest` samples, or subjects where there are any; `left_out`
    others had too few. `worst_a` and `worst_b` name the classes or groups where a and b are lowest, for a
    worst-case statistic.
    """

    statistic: StatisticName
    estimate: float
    low: float
    high: float
    confidence: float
    n: int
    n_subjects: int | None = None
    a_only: int
    b_only: int
    resamples: int
    strata: int
    smallest: int
    left_out: int = 0
    worst_a: str | None = None
    worst_b: str | None = None
    accuracy_a: float | None = None
    accuracy_b: float | None = None


class ArmDifference(Difference):
    """The difference between two models of the report: MaskTune or the retrained head, minus another."""

    a: Arm
    b: Arm


class SplitDifference(ArmDifference):
    """The difference between two models in the statistic that decides on this split."""

    split: str


class ModelAtChance(Section):
    """A model whose balanced accuracy on `n` validation samples is not above chance, one over the number of
    classes, by its 95 % interval."""

    arm: Arm
    seed: int | None = Field(default=None, description="Where a job has several.")
    n: int
    n_subjects: int | None = None
    balanced_accuracy: float
    low: float
    high: float
    chance: float


class SeedDifference(Section):
    """The difference that decides, between a and b trained with this seed."""

    seed: int
    estimate: float


Standing = Literal["above", "undetected", "below", "absent"]
"""By the interval of the deciding difference to a model; `absent`: there is no such model."""

_AGAINST_ERM: Any = Field("absent", description="Where a stands to plain training.")
_AGAINST_CONTROL: Any = Field("absent", description="Where a stands to its control.")
_HURT_BY_COLUMNS: Any = Field(
    default=[], description="Columns of metadata by whose groups a hurt, as `column_shortcuts` has it."
)


class Verdict(Section):
    """Whether model a helped, against model b, by one statistic that was fixed beforehand.

    It helped if it is above its control and above plain training, where these are there.
    Above plain training
    alone, its groups or masks have done nothing; above its control alone, it makes good what that cost.

    With several `seeds`, the differences are means over them, `a_only` and `b_only` count all of them, and
    the intervals are for training with any seed.

    `reason` says why it is `not_testable`; docs/REPORT.md has them all.
    """

    verdict: VerdictName
    reason: NotTestableReason | None = None
    at_chance: list[ModelAtChance] = []
    split: str
    inferred: bool = Field(
        False,
        description="Whether it rests on groups that nobody labelled: its interval is for these groups.",
    )
    a: Arm
    b: Arm
    beaten_by: Arm | None = Field(
        None,
        description="Another plain model, that groups of the split show to be better than a: then a helped "
        "against b, but is not recommended.",
    )
    against_erm: Standing = _AGAINST_ERM
    against_control: Standing = _AGAINST_CONTROL
    deciding_difference: Difference
    erm_difference: Difference | None = Field(
        None, description="That to plain training, in the same statistic, where b is a control."
    )
    control_cost: float | None = Field(
        None,
        description="How far b, a control, is below plain training in that statistic, if by more than the "
        "interval.",
    )
    accuracy_difference: Difference = Field(description="The difference in average accuracy.")
    hurt_by_columns: list[str] = _HURT_BY_COLUMNS
    seeds: list[SeedDifference] = Field(
        default=[], description="Of each seed, where a job has several; else empty."
    )


class JobVerdict(Shape):
    """Whether the job's model a helped, against model b."""

    verdict: VerdictName
    reason: NotTestableReason | None = Field(None, description="Why it is `not_testable`, as in the report.")
    inferred: bool = Field(False, description="Whether it rests on groups that nobody labelled.")
    a: Arm
    b: Arm
    beaten_by: Arm | None = Field(
        None, description="Another plain model that is better than a, as in the report."
    )
    against_erm: Standing = _AGAINST_ERM
    against_control: Standing = _AGAINST_CONTROL
    hurt_by_columns: list[str] = _HURT_BY_COLUMNS


class Disagreement(Section):
    """How many of `n` samples ERM and the model after it answer differently, with the share's interval."""

    n: int
    n_subjects: int | None = None
    disagree: int
    share: float
    low: float
    high: float


class BackgroundGap(Section):
    """Accuracy on `mixed_same` minus accuracy on `mixed_rand`, with its 95 % interval, paired or not."""

    gap: float
    low: float
    high: float
    paired: bool
    n_same: int
    correct_same: int
    n_random: int
    correct_random: int
