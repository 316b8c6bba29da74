"""Did it help? One model against another by every statistic that the samples allow, and one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from models.paired import Bools, Difference, Labels, Statistic, paired_difference

LEAST_GROUP = 10
"""Samples of a group that may decide: of a smaller one no model can be said to be better there, and it
would keep the worst of all the others from being compared."""


def compare(
    correct_a: Bools,
    correct_b: Bools,
    *,
    classes: Labels,
    groups: Labels | None = None,
    train_group_weights: Mapping[int, float] | None = None,
    generator: Callable[[Statistic], np.random.Generator],
) -> tuple[Difference, ...]:
    """a − b in every statistic that (N,) samples allow; `generator` gives each its own random numbers.

    `groups` (N,) may hold −1, none: such samples are left out of what is about groups. The worst group is
    sought among those of at least `LEAST_GROUP` samples, if two are so large.
    """
    groups = np.full(len(classes), -1) if groups is None else groups
    decisive, left_out = _large_enough(groups)
    weights = np.array(
        [(train_group_weights or {}).get(g, 0.0) for g in np.unique(groups[groups >= 0]).tolist()]
    )
    cases: list[tuple[Statistic, Labels]] = [
        ("accuracy", classes),
        ("balanced_accuracy", classes),
        ("worst_class_accuracy", classes),
    ]
    if len(weights):
        cases.append(("worst_group_accuracy", decisive))
    if weights.any():
        cases.append(("train_weighted_accuracy", groups))
    found = []
    for statistic, strata in cases:
        known = strata >= 0
        difference = paired_difference(
            correct_a[known],
            correct_b[known],
            generator=generator(statistic),
            strata=strata[known],
            weights=weights,
            statistic=statistic,
        )
        found.append(difference._replace(left_out=left_out if statistic == "worst_group_accuracy" else 0))
    return tuple(found)


def _large_enough(groups: Labels) -> tuple[Labels, int]:
    """The groups (N,), −1 for those too small, and how many these are; as they are without two large ones."""
    keys, sizes = np.unique(groups[groups >= 0], return_counts=True)
    large = keys[sizes >= LEAST_GROUP]
    if len(large) < 2:
        return groups, 0
    return np.where(np.isin(groups, large), groups, -1), len(keys) - len(large)


VerdictName = Literal["helped", "no_detectable_effect", "hurt"]


class Verdict(NamedTuple):
    """The answer, the difference that decided it, and the plain accuracy's beside it."""

    verdict: VerdictName
    deciding: Difference
    average: Difference


def verdict(differences: Sequence[Difference]) -> Verdict:
    """Did MaskTune help, by its `differences` to the control of equal budget on samples that trained neither?

    The rule: the 95 % interval of the difference in worst-group accuracy, where groups can decide
    (`groups_decide`), else in balanced accuracy. Above 0: helped. Below 0: hurt. Otherwise no detectable
    effect. Its error is simulated by benchmarks/verdict.py, docs/REPORT.md has the figures.
    It judges one statistic: a model that helped the worst group may have lost on average, which is
    why that difference is given too. ValueError where one that is needed is missing.

    It is about these two models and inputs like these: two trainings that differ in nothing but a
    seed differ too, and enough samples will show it.
    """
    named = {difference.statistic: difference for difference in differences}
    deciding = named.get("balanced_accuracy")
    worst, average = named.get("worst_group_accuracy"), named.get("accuracy")
    if worst is not None and (average is None or groups_decide(worst, average)):
        deciding = worst
    if deciding is None or average is None:
        raise ValueError("a verdict needs the difference in accuracy and in worst-group or balanced accuracy")
    return Verdict(_name(deciding), deciding, average)


def groups_decide(worst: Difference, average: Difference) -> bool:
    """Whether there are two groups of at least `LEAST_GROUP` samples that hold half of all samples."""
    return worst.strata >= 2 and worst.smallest >= LEAST_GROUP and 2 * worst.n >= average.n


def _name(difference: Difference) -> VerdictName:
    if difference.low > 0:
        return "helped"
    return "hurt" if difference.high < 0 else "no_detectable_effect"
