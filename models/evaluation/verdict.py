"""Did it help? Compare two models by every statistic that the samples allow, and decide by one rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from models.evaluation.metrics import Metrics
from models.evaluation.paired import Difference, Statistic, paired_difference, stratum_sizes
from models.types import Bools, Labels

CONFIDENCE = 0.95
"""Of the intervals of a report on its job's own test images."""
LEAST_GROUP = 10
"""Minimum size of a group that may decide, in subjects where there are any: in a smaller group, no model can
be shown to be better, and the group would keep the worst of the others from being compared."""
LEAST_SUBJECTS = 10
"""Minimum number of subjects, where there are any, for a verdict: fewer do not show how much they differ."""


def compare(
    correct_a: Bools,
    correct_b: Bools,
    *,
    classes: Labels,
    groups: Labels | None = None,
    train_group_weights: Mapping[int, float] | None = None,
    clusters: Labels | None = None,
    minority: Collection[int] = (),
    confidence: float = CONFIDENCE,
    generator: Callable[[Statistic], np.random.Generator],
) -> tuple[Difference, ...]:
    """Compute a − b in every statistic that (N,) samples allow; `generator` makes a generator for each.

    Samples without a group (−1 in `groups`, (N,)) are left out of the group statistics. If two groups
    or more have at least `LEAST_GROUP` samples, or subjects, the worst group is sought among these alone;
    but if some groups are a `minority`, one of them must be among these, and without any sample of these
    there is no worst group.
    `clusters` (N,) is equal where two samples are not independent: they are of one subject.
    """
    groups = np.full(len(classes), -1) if groups is None else groups
    decisive, left_out = _large_enough(groups, clusters, minority)
    weights = np.array(
        [(train_group_weights or {}).get(g, 0.0) for g in np.unique(groups[groups >= 0]).tolist()]
    )
    cases: list[tuple[Statistic, Labels]] = [
        ("accuracy", classes),
        ("balanced_accuracy", classes),
        ("worst_class_accuracy", classes),
    ]
    if len(weights) and (not minority or np.isin(groups, list(minority)).any()):
        cases.append(("worst_group_accuracy", decisive))
    if weights.any():
        cases.append(("train_weighted_accuracy", groups))
    differences = []
    for statistic, strata in cases:
        known = strata >= 0
        difference = paired_difference(
            correct_a[known],
            correct_b[known],
            generator=generator(statistic),
            strata=strata[known],
            weights=weights,
            clusters=None if clusters is None else clusters[known],
            statistic=statistic,
            confidence=confidence,
        )
        small = left_out if statistic == "worst_group_accuracy" else 0
        differences.append(difference._replace(left_out=small))
    return tuple(differences)


def _large_enough(groups: Labels, clusters: Labels | None, minority: Collection[int]) -> tuple[Labels, int]:
    """Set small groups (N,) to −1 and count them; return all, and 0, unless groups can decide."""
    large = decisive_groups(groups, clusters, minority)
    if not len(large):
        return groups, 0
    return np.where(np.isin(groups, large), groups, -1), len(np.unique(groups[groups >= 0])) - len(large)


def decisive_groups(groups: Labels, clusters: Labels | None, minority: Collection[int]) -> Labels:
    """Which of the `groups` (N,) are large enough; none unless two are, one of the `minority` among them if
    there is any."""
    known = groups >= 0
    sizes = stratum_sizes(groups[known], None if clusters is None else clusters[known])
    large = np.unique(groups[known])[sizes >= LEAST_GROUP]
    if len(large) < 2 or (minority and not np.isin(large, list(minority)).any()):
        return large[:0]
    return large


def smallest_decisive(
    groups: Labels,
    clusters: Labels | None,
    minority: Collection[int] = (),
) -> int | None:
    """The size of the smallest of the `decisive_groups`, in subjects where there are any.
    None if these hold less than half of all samples, or there are none."""
    inside = np.isin(groups, decisive_groups(groups, clusters, minority))
    if not inside.any() or 2 * inside.sum() < len(groups):
        return None
    of_inside = None if clusters is None else clusters[inside]
    return int(stratum_sizes(groups[inside], of_inside).min())


VerdictName = Literal["helped", "no_detectable_effect", "hurt", "not_testable"]
GroupsReason = Literal["no_groups", "one_group", "small_groups", "few_in_groups"]
"""Why the groups of a split cannot decide: it has none, or one; fewer than two have `LEAST_GROUP` samples;
those that have hold less than half of all samples."""
NotTestableReason = Literal[GroupsReason, "shortcut_or_harm", "not_above_chance", "few_subjects"]


def look_confidence(look: int) -> float:
    """Of intervals when a job's models are judged on other images, from 1 for the first:
    1 − 0.05 / (look (look + 1)).

    The errors of all looks add up to 0.05 (alpha spending: Lan and DeMets, Biometrika 1983).
    """
    return 1 - (1 - CONFIDENCE) / (look * (look + 1))


Standing = Literal["above", "undetected", "below"]
"""Where the interval of a difference lies: above zero, around it, or below."""


class Verdict(NamedTuple):
    """The verdict, why it is `not_testable` if it is, the difference that decided or would have, and the
    difference in average accuracy. `to_plain` is that to plain training beside a control; `stands` says where
    the model stands to its rival, and to plain training beside a control."""

    verdict: VerdictName
    reason: NotTestableReason | None
    deciding: Difference
    average: Difference
    to_plain: Difference | None
    stands: tuple[Standing, ...]

    def standings(self, *, is_control: bool) -> dict[str, Any]:
        """Where the model stands, as `against_control` and `against_erm`, to those that are there;
        `is_control`: its rival is one."""
        rivals = ("against_control", "against_erm") if is_control else ("against_erm",)
        return dict(zip(rivals, self.stands, strict=False))


def verdict(
    differences: Sequence[Difference],
    *,
    plain: Sequence[Difference] = (),
    validation: Sequence[Metrics] = (),
    by_column: bool = False,
) -> Verdict:
    """Decide whether MaskTune helped, from `differences` to its control on samples that trained neither.

    The control has the same training budget. `plain` are the differences to plain training, which the user
    would have had; without a control, `differences` are those. `validation` holds the metrics of the model
    and its control, of every seed, on the validation split, if that was evaluated; a model that is not above
    chance there has learned nothing that could be compared: not testable. Nor are fewer than
    `LEAST_SUBJECTS`. Else the rule uses the 95 % intervals of the differences in worst-group accuracy if
    groups can decide (`groups_reason`), or in balanced accuracy. All above 0: helped. If groups decided: hurt
    where it is below plain training, or below its control and not above plain training; else no detectable
    effect. Without them it is not testable: a test split that has the shortcut cannot show that a model lost
    it (`shortcut_or_harm`). *Helped* needs both intervals, so that neither is corrected.

    `by_column`: the groups are class × a column of metadata. A model that gives up a pattern loses a few
    points in each class, and so in the groups of a column that has no effect: there, it is below a rival only
    if the interval lies below that of the difference in the worst class too.

    How often it is wrong: docs/REPORT.md. A model that helped the worst group may have lost on average, so
    that difference is returned too. Raises ValueError if a required difference is missing.

    The verdict applies to these two models and inputs like these; over several seeds, to others too.
    """
    named, to_plain = ({one.statistic: one for one in some} for some in (differences, plain))
    worst, average = named.get("worst_group_accuracy"), named.get("accuracy")
    missing = groups_reason(worst, average) if average else None
    deciding = named.get("balanced_accuracy") if missing else worst
    if deciding is None or average is None:
        raise ValueError("a verdict needs the difference in accuracy and in worst-group or balanced accuracy")
    stands = tuple(
        standing(one[deciding.statistic], beyond=one["worst_class_accuracy"].low if by_column else 0.0)
        for one in (named, to_plain)
        if deciding.statistic in one
    )
    beside = deciding, average, to_plain.get(deciding.statistic), stands
    if not all(metrics.above_chance for metrics in validation):
        return Verdict("not_testable", "not_above_chance", *beside)
    if few_subjects(average):
        return Verdict("not_testable", "few_subjects", *beside)
    name = decide(stands, by_groups=missing is None)
    if name != "not_testable":
        return Verdict(name, None, *beside)
    return Verdict(name, "shortcut_or_harm" if "below" in stands else missing, *beside)


def few_subjects(difference: Difference) -> bool:
    """Whether the samples have subjects, but too few to show how much they differ."""
    return difference.n_subjects is not None and difference.n_subjects < LEAST_SUBJECTS


def groups_reason(worst: Difference | None, average: Difference) -> GroupsReason | None:
    """Why groups cannot decide.
    They can (None) if two or more, each of at least `LEAST_GROUP` samples, or subjects where there are any,
    hold at least half of all samples."""
    if worst is None:
        return "no_groups"
    if worst.strata < 2:
        return "one_group"
    if worst.smallest < LEAST_GROUP:
        return "small_groups"
    return "few_in_groups" if 2 * worst.n < average.n else None


def standing(difference: Difference, *, beyond: float = 0.0) -> Standing:
    """Where the interval lies; below `beyond` too, if it is below zero."""
    return "above" if difference.low > 0 else "below" if difference.high < min(0.0, beyond) else "undetected"


def decide(standings: Sequence[Standing], *, by_groups: bool) -> VerdictName:
    """The verdict by where a model stands to its rival and, if that is a control, to plain training too."""
    if all(one == "above" for one in standings):
        return "helped"
    if not by_groups:
        return "not_testable"
    rival, plain = standings[0], standings[-1]
    if plain == "below" or (rival, plain) == ("below", "undetected"):
        return "hurt"
    return "no_detectable_effect"


POWER = 0.8
"""The chance that the larger sample decides."""


def growth_to_decide(
    estimate: float,
    low: float,
    high: float,
    *,
    confidence: float = CONFIDENCE,
    next_confidence: float = CONFIDENCE,
    power: float = POWER,
) -> float:
    """How many times as large a sample must be so that the interval of a difference leaves out zero, at
    `next_confidence`.

    `estimate` is a difference of shares, with its interval at `confidence`. The width of
    an interval falls with the root of the number of samples, so that n samples, of standard error
    s = (estimate − low) / z for a difference above zero,
    must become n ((z_next + z_power) s / estimate)²:
    the sample size for paired proportions (Connor, Biometrics 1987) with the measured variance.
    At least 1; infinite for a difference of zero.
    """
    if estimate == 0:
        return math.inf
    z, of_next = (NormalDist().inv_cdf((1 + one) / 2) for one in (confidence, next_confidence))
    reach = estimate - low if estimate > 0 else high - estimate
    return max(1.0, ((of_next + NormalDist().inv_cdf(power)) / z * reach / abs(estimate)) ** 2)
