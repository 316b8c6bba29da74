"""Where the rule of the verdict turns: ten samples, half of all, an interval that ends at 0."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.paired import Difference, Statistic
from models.evaluation.verdict import LEAST_GROUP, compare, groups_reason, verdict
from models.types import Labels
from tests.unit.models.evaluation.pairs import outcomes


def compared(
    sizes: list[int], *, ungrouped: int = 0, train: dict[int, float] | None = None
) -> dict[Statistic, Difference]:
    """Groups of these sizes, in each of which b got one sample wrong that a got right; by statistic."""
    a, b, groups = outcomes([[size - 1, 1, 0, 0] for size in [*sizes, *([ungrouped] if ungrouped else [])]])
    groups[sum(sizes) :] = -1
    found = compare(
        a,
        b,
        classes=np.zeros(len(a), np.int64),
        groups=groups,
        train_group_weights=train,
        generator=lambda _: np.random.default_rng(0),
    )
    return {difference.statistic: difference for difference in found}


@pytest.mark.parametrize(
    ("smallest", "strata", "left_out"), [(LEAST_GROUP, 3, 0), (LEAST_GROUP - 1, 2, 1)], ids=["10", "9"]
)
def test_a_group_of_ten_samples_is_compared_and_one_of_nine_is_not(
    smallest: int, strata: int, left_out: int
) -> None:
    found = compared([60, 40, smallest])
    worst = found["worst_group_accuracy"]
    assert (worst.strata, worst.left_out) == (strata, left_out)
    assert {d.left_out for name, d in found.items() if name != "worst_group_accuracy"} == {0}
    assert groups_reason(worst, found["accuracy"]) is None


def test_where_one_group_alone_is_large_enough_all_of_them_are_told_of() -> None:
    found = compared([60, LEAST_GROUP - 1, LEAST_GROUP - 1])
    worst = found["worst_group_accuracy"]
    assert (worst.strata, worst.smallest, worst.left_out) == (3, LEAST_GROUP - 1, 0)
    assert groups_reason(worst, found["accuracy"]) == "small_groups"


@pytest.mark.parametrize(("ungrouped", "decides"), [(50, True), (51, False)])
def test_groups_decide_where_they_hold_half_of_all_samples(ungrouped: int, decides: bool) -> None:
    found = compared([25, 25], ungrouped=ungrouped)
    reason = groups_reason(found["worst_group_accuracy"], found["accuracy"])
    assert reason == (None if decides else "few_in_groups")
    expected = "worst_group_accuracy" if decides else "balanced_accuracy"
    assert verdict(list(found.values())).deciding.statistic == expected


def test_a_group_that_no_training_sample_belongs_to_weighs_nothing() -> None:
    found = compared([20, 50], train={0: 90})
    assert found["train_weighted_accuracy"].estimate == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 0.2, "no_detectable_effect"),
        (1e-9, 0.2, "helped"),
        (-0.2, 0.0, "no_detectable_effect"),
        (-0.2, -1e-9, "hurt"),
        (0.0, 0.0, "no_detectable_effect"),
    ],
)
def test_an_interval_that_ends_at_zero_shows_nothing(low: float, high: float, expected: str) -> None:
    found = compared([60, 40])
    found["worst_group_accuracy"] = found["worst_group_accuracy"]._replace(low=low, high=high)
    assert verdict(list(found.values())).verdict == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1e-9, 0.2, ("helped", None)),
        (-0.2, 0.0, ("not_testable", "no_groups")),
        (-0.2, -1e-9, ("not_testable", "shortcut_or_harm")),
    ],
)
def test_without_groups_a_lost_shortcut_is_not_told_from_harm(
    low: float, high: float, expected: tuple[str, str | None]
) -> None:
    found = compared([60, 40])
    del found["worst_group_accuracy"]
    found["balanced_accuracy"] = found["balanced_accuracy"]._replace(low=low, high=high)
    assert verdict(list(found.values()))[:2] == expected


@pytest.mark.parametrize("missing", ["accuracy", "balanced_accuracy"])
def test_without_what_it_needs_there_is_no_verdict(missing: Statistic) -> None:
    """The plain accuracy is always told of; the balanced one is needed where groups do not decide."""
    found = compared([25, 25], ungrouped=60)
    del found[missing]
    with pytest.raises(ValueError, match="needs the difference in accuracy"):
        verdict(list(found.values()))


@pytest.mark.parametrize("groups", [None, np.full(200, -1)])
def test_where_there_are_no_groups_nothing_is_said_of_any(groups: Labels | None) -> None:
    a, b, classes = outcomes([[60, 20, 5, 15], [90, 0, 0, 10]])
    found = compare(
        a,
        b,
        classes=classes,
        groups=groups,
        train_group_weights={0: 90, 1: 10},
        generator=lambda _: np.random.default_rng(0),
    )
    assert [d.statistic for d in found] == ["accuracy", "balanced_accuracy", "worst_class_accuracy"]
