"""Did it help? By which statistic that is decided, and what is compared at all."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.evaluation.metrics import metrics
from models.evaluation.paired import Difference, Statistic, paired_difference
from models.evaluation.verdict import (
    LEAST_GROUP,
    Verdict,
    compare,
    decisive_groups,
    groups_reason,
    smallest_decisive,
    standing,
    verdict,
)
from models.types import Bools, Labels
from tests.unit.models.evaluation.pairs import outcomes


def judged(
    a: Bools, b: Bools, *, classes: Labels, groups: Labels | None = None, clusters: Labels | None = None
) -> Verdict:
    differences = compare(
        a,
        b,
        classes=classes,
        groups=groups,
        clusters=clusters,
        generator=lambda _: np.random.default_rng(0),
    )
    return verdict(differences)


@pytest.mark.parametrize(
    ("minority", "expected"),
    [
        ([10, 60, 5, 25], "helped"),
        ([10, 5, 60, 25], "hurt"),
        ([40, 10, 10, 40], "no_detectable_effect"),
    ],
)
def test_the_worst_group_decides_where_there_are_groups(minority: list[int], expected: str) -> None:
    a, b, groups = outcomes([[900, 0, 50, 50], minority])
    found = judged(a, b, classes=np.zeros(len(a), np.int64), groups=groups)
    assert found.verdict == expected
    assert found.deciding.statistic == "worst_group_accuracy"
    assert found.average.statistic == "accuracy"
    assert found.average.n == len(a)


@pytest.mark.parametrize("groups", [None, np.full(400, -1)])
def test_balanced_accuracy_decides_where_there_are_none(groups: Labels | None) -> None:
    a, b, classes = outcomes([[200, 0, 0, 0], [100, 80, 5, 15]])
    found = judged(a, b, classes=classes, groups=groups)
    assert (found.verdict, found.deciding.statistic) == ("helped", "balanced_accuracy")
    assert found.deciding.estimate == pytest.approx(75 / 200 / 2)


@pytest.mark.parametrize(
    ("sizes", "reason", "worse"),
    [
        ((), "no_groups", False),
        ((400,), "one_group", False),
        ((391, 9), "small_groups", False),
        ((9, 9, 9, 9), "small_groups", False),
        ((100, 90), "few_in_groups", False),
        ((), "shortcut_or_harm", True),
        ((100, 90), "shortcut_or_harm", True),
    ],
)
def test_why_groups_could_not_decide_is_told_and_harm_without_them_never_is(
    sizes: tuple[int, ...], reason: str, worse: bool
) -> None:
    a, b, _ = outcomes([[150, 10, 170, 70] if worse else [360, 10, 10, 20]])
    groups = np.full(len(a), -1)
    groups[: sum(sizes)] = np.repeat(np.arange(len(sizes)), sizes)
    judgement = judged(a, b, classes=np.zeros(len(a), np.int64), groups=groups)
    assert (judgement.verdict, judgement.deciding.statistic) == ("not_testable", "balanced_accuracy")
    assert judgement.reason == reason


@pytest.mark.parametrize(("right", "expected"), [(55, "not_testable"), (70, "helped")])
def test_a_model_that_is_not_above_chance_on_validation_gets_no_verdict(right: int, expected: str) -> None:
    """Its random answers are right in half of each group; the control is good in one and bad in the other."""
    a, b, groups = outcomes([[50, 0, 45, 5], [5, 45, 0, 50]])
    labels = np.repeat([0, 1], 100)
    guesses = np.where(np.tile(np.arange(100) < right, 2), labels, 1 - labels)
    differences = compare(a, b, classes=labels, groups=groups, generator=lambda _: np.random.default_rng(0))
    found = verdict(differences, validation=[metrics(labels, labels), metrics(labels, guesses)])
    assert found.verdict == expected
    assert (found.reason == "not_above_chance") == (expected == "not_testable")


def test_samples_without_a_group_are_left_out_of_the_groups() -> None:
    a, b, groups = outcomes([[30, 0, 0, 0], [30, 0, 0, 0], [0, 0, 40, 0]])
    groups[groups == 2] = -1
    found = judged(a, b, classes=np.zeros(100, np.int64), groups=groups)
    assert (found.deciding.n, found.average.n) == (60, 100)
    assert found.verdict == "no_detectable_effect"


def test_every_statistic_is_compared_and_weights_are_those_of_training() -> None:
    # Group 0: a better by 0.5; group 1: b better by 0.2. In training group 0 is nine times as frequent.
    a, b, groups = outcomes([[25, 50, 0, 25], [60, 0, 20, 20]])
    found = {
        d.statistic: d
        for d in compare(
            a,
            b,
            classes=groups,
            groups=groups,
            train_group_weights={0: 90, 1: 10},
            generator=lambda _: np.random.default_rng(0),
        )
    }
    assert list(found) == [
        "accuracy",
        "balanced_accuracy",
        "worst_class_accuracy",
        "worst_group_accuracy",
        "train_weighted_accuracy",
    ]
    assert found["accuracy"].estimate == pytest.approx(0.15)
    assert found["worst_group_accuracy"].estimate == pytest.approx(0.60 - 0.25)
    assert found["train_weighted_accuracy"].estimate == pytest.approx(0.9 * 0.5 - 0.1 * 0.2)
    assert found["train_weighted_accuracy"].low < 0.43 < found["train_weighted_accuracy"].high
    with pytest.raises(ValueError, match="needs weights"):
        paired_difference(
            a,
            b,
            strata=groups,
            statistic="train_weighted_accuracy",
            generator=np.random.default_rng(0),
        )


def test_a_group_of_a_few_samples_does_not_keep_the_others_from_being_judged() -> None:
    a, b, groups = outcomes([[2000, 10, 10, 20], [200, 180, 10, 110], [0, 0, 0, 9]])
    found = judged(a, b, classes=np.zeros(len(a), np.int64), groups=groups)
    assert (found.verdict, found.deciding.statistic) == ("helped", "worst_group_accuracy")
    assert (found.deciding.strata, found.deciding.left_out, found.deciding.n) == (2, 1, 2540)
    assert (found.deciding.worst_a, found.deciding.worst_b) == (1, 1)


@pytest.mark.parametrize(("subjects", "decides"), [(9, False), (12, True)])
def test_a_group_is_as_large_as_its_subjects_are_many(subjects: int, decides: bool) -> None:
    a, b, groups = outcomes([[400, 40, 40, 20], [200, 20, 10, 10]])
    clusters = np.where(groups == 0, np.arange(740), 1000 + np.arange(740) % subjects)
    verdict_of_clusters = judged(a, b, classes=groups, groups=groups, clusters=clusters)
    assert (verdict_of_clusters.deciding.statistic == "worst_group_accuracy") == decides


@pytest.mark.parametrize(("subjects", "expected"), [(9, "not_testable"), (40, "helped")])
def test_the_images_of_few_subjects_get_no_verdict(subjects: int, expected: str) -> None:
    a, b, classes = outcomes([[600, 300, 0, 0], [600, 300, 0, 0]])
    verdict_of_clusters = judged(a, b, classes=classes, clusters=np.arange(1800) % subjects)
    assert (verdict_of_clusters.verdict, verdict_of_clusters.reason) == (
        expected,
        "few_subjects" if subjects < 10 else None,
    )
    assert verdict_of_clusters.deciding.n_subjects == subjects


@cache
def compared(
    *sizes: int, ungrouped: int = 0, train: tuple[tuple[int, float], ...] = ()
) -> dict[Statistic, Difference]:
    """Groups of these sizes, in each of which b got one sample wrong that a got right; by statistic."""
    a, b, groups = outcomes([[size - 1, 1, 0, 0] for size in (*sizes, ungrouped) if size])
    groups[sum(sizes) :] = -1
    found = compare(
        a,
        b,
        classes=np.zeros(len(a), np.int64),
        groups=groups,
        train_group_weights=dict(train) or None,
        generator=lambda _: np.random.default_rng(0),
    )
    return {difference.statistic: difference for difference in found}


@pytest.mark.parametrize(
    ("smallest", "strata", "left_out"), [(LEAST_GROUP, 3, 0), (LEAST_GROUP - 1, 2, 1)], ids=["10", "9"]
)
def test_a_group_of_ten_samples_is_compared_and_one_of_nine_is_not(
    smallest: int, strata: int, left_out: int
) -> None:
    found = compared(60, 40, smallest)
    worst = found["worst_group_accuracy"]
    assert (worst.strata, worst.left_out) == (strata, left_out)
    assert {d.left_out for name, d in found.items() if name != "worst_group_accuracy"} == {0}
    assert groups_reason(worst, found["accuracy"]) is None


def test_where_one_group_alone_is_large_enough_all_of_them_are_told_of() -> None:
    found = compared(60, LEAST_GROUP - 1, LEAST_GROUP - 1)
    worst = found["worst_group_accuracy"]
    assert (worst.strata, worst.smallest, worst.left_out) == (3, LEAST_GROUP - 1, 0)
    assert groups_reason(worst, found["accuracy"]) == "small_groups"


def test_without_any_sample_of_the_minority_the_other_groups_decide_nothing() -> None:
    """Else images that all have the shortcut would show that there is no effect."""
    a, b, classes = outcomes([[80, 5, 5, 10], [80, 5, 5, 10]])

    def told(minority: list[int]) -> tuple[str, str | None]:
        differences = compare(
            a,
            b,
            classes=classes,
            groups=2 * classes,
            minority=minority,
            generator=lambda _: np.random.default_rng(0),
        )
        return verdict(differences).verdict, verdict(differences).reason

    assert told([]) == ("no_detectable_effect", None)
    assert told([1, 3]) == ("not_testable", "no_groups")


@pytest.mark.parametrize(
    ("sizes", "minority", "expected"),
    [
        ([60, LEAST_GROUP, 40, 9], [1, 3], [0, 1, 2]),
        ([60, LEAST_GROUP - 1, 40, 9], [1, 3], []),
        ([60, 0, 40, 0], [1, 3], []),
        ([60, LEAST_GROUP - 1, 40, 9], [], [0, 2]),
        ([60, 9], [], []),
    ],
    ids=["one of the minority", "none", "absent", "no minority", "a single group"],
)
def test_which_groups_are_large_enough_to_decide(
    sizes: list[int], minority: list[int], expected: list[int]
) -> None:
    groups = np.append(np.repeat(np.arange(len(sizes)), sizes), -1)
    assert decisive_groups(groups, None, minority).tolist() == expected
    assert decisive_groups(groups, np.zeros_like(groups), minority).tolist() == []  # of one subject


def test_the_smallest_group_is_that_of_those_that_decide() -> None:
    groups = np.repeat([0, 1, 2], [60, 20, LEAST_GROUP - 1])
    assert smallest_decisive(groups, None) == 20
    assert smallest_decisive(groups, None, [2]) is None
    assert smallest_decisive(groups, np.arange(len(groups)) // 2) == 10  # subjects of two images
    assert smallest_decisive(np.append(groups, np.full(71, -1)), None) == 20
    assert smallest_decisive(np.append(groups, np.full(72, -1)), None) is None
    assert smallest_decisive(np.full(9, -1), None) is None


@pytest.mark.parametrize(("ungrouped", "decides"), [(50, True), (51, False)])
def test_groups_decide_where_they_hold_half_of_all_samples(ungrouped: int, decides: bool) -> None:
    found = compared(25, 25, ungrouped=ungrouped)
    reason = groups_reason(found["worst_group_accuracy"], found["accuracy"])
    assert reason == (None if decides else "few_in_groups")
    expected = "worst_group_accuracy" if decides else "balanced_accuracy"
    assert verdict(list(found.values())).deciding.statistic == expected


def test_a_group_that_no_training_sample_belongs_to_weighs_nothing() -> None:
    found = compared(20, 50, train=((0, 90),))
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
    found = dict(compared(60, 40))
    found["worst_group_accuracy"] = found["worst_group_accuracy"]._replace(low=low, high=high)
    assert verdict(list(found.values())).verdict == expected


INTERVALS = {"above": (0.01, 0.2), "undetected": (-0.1, 0.1), "below": (-0.2, -0.01)}


@pytest.mark.parametrize(
    ("plain", "control", "by_groups", "without"),
    [
        ("above", "above", "helped", "helped"),
        ("above", "undetected", "no_detectable_effect", "not_testable"),
        ("above", "below", "no_detectable_effect", "not_testable"),
        ("undetected", "above", "no_detectable_effect", "not_testable"),
        ("undetected", "undetected", "no_detectable_effect", "not_testable"),
        ("undetected", "below", "hurt", "not_testable"),
        ("below", "above", "hurt", "not_testable"),
        ("below", "undetected", "hurt", "not_testable"),
        ("below", "below", "hurt", "not_testable"),
    ],
)
def test_plain_training_and_the_control_decide_together(
    plain: str, control: str, by_groups: str, without: str
) -> None:
    for decides, expected in ((True, by_groups), (False, without)):
        pair = [dict(compared(60, 40)), dict(compared(60, 40))]
        for differences, stands in zip(pair, (control, plain), strict=True):
            low, high = INTERVALS[stands]
            statistic: Statistic = "worst_group_accuracy" if decides else "balanced_accuracy"
            differences[statistic] = differences[statistic]._replace(low=low, high=high)
            if not decides:
                del differences["worst_group_accuracy"]
        decision = verdict(list(pair[0].values()), plain=list(pair[1].values()))
        assert decision.verdict == expected
        assert decision.to_plain is not None
        assert (standing(decision.deciding), standing(decision.to_plain)) == (control, plain)
        if not decides and expected == "not_testable":
            reason = "shortcut_or_harm" if "below" in (plain, control) else "no_groups"
            assert decision.reason == reason


@pytest.mark.parametrize(
    ("beyond", "expected"),
    [(0.0, "below"), (0.5, "below"), (-0.04, "below"), (-0.05, "undetected"), (-0.1, "undetected")],
)
def test_a_difference_is_below_another_only_with_its_whole_interval(beyond: float, expected: str) -> None:
    worst = compared(60, 40)["worst_group_accuracy"]._replace(low=-0.2, high=-0.05)
    assert standing(worst, beyond=beyond) == expected
    assert standing(worst._replace(high=0.1), beyond=beyond) == "undetected"
    assert standing(worst._replace(low=0.01, high=0.1), beyond=beyond) == "above"


@pytest.mark.parametrize(
    ("lost", "by_groups", "by_column"),
    [(0, "hurt", "no_detectable_effect"), (16, "hurt", "no_detectable_effect"), (200, "hurt", "hurt")],
)
def test_by_a_column_a_loss_counts_beyond_that_of_the_worst_class(
    lost: int, by_groups: str, by_column: str
) -> None:
    """Each class loses 36 of 900 images where the column is usual, and so many of 400 where it is not."""
    a, b, groups = outcomes([[864, 0, 36, 0], [400 - lost, 0, lost, 0]] * 2)
    differences = compare(
        a, b, classes=groups // 2, groups=groups, generator=lambda _: np.random.default_rng(0)
    )
    of_groups, of_column = verdict(differences), verdict(differences, by_column=True)
    assert (of_groups.verdict, of_column.verdict) == (by_groups, by_column)
    stands = "below" if by_column == "hurt" else "undetected"
    assert of_column.standings(is_control=False) == {"against_erm": stands}
    assert of_groups.standings(is_control=True) == {"against_control": "below"}


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
    found = dict(compared(60, 40))
    del found["worst_group_accuracy"]
    found["balanced_accuracy"] = found["balanced_accuracy"]._replace(low=low, high=high)
    assert verdict(list(found.values()))[:2] == expected


@pytest.mark.parametrize("missing", ["accuracy", "balanced_accuracy"])
def test_without_what_it_needs_there_is_no_verdict(missing: Statistic) -> None:
    """The plain accuracy is always told of; the balanced one is needed where groups do not decide."""
    found = dict(compared(25, 25, ungrouped=60))
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


@pytest.mark.parametrize(("rare", "statistic"), [(10, "worst_group_accuracy"), (9, "balanced_accuracy")])
def test_inferred_groups_decide_only_with_one_that_lacks_the_pattern(rare: int, statistic: str) -> None:
    """Else the two that have it would decide, which a shortcut helps."""
    groups = np.repeat([0, 1, 2, 3], [100, rare, 100, 5])
    right = np.ones(len(groups), bool)
    differences = compare(
        right,
        right,
        classes=groups // 2,
        groups=groups,
        minority=(1, 3),
        generator=lambda _: np.random.default_rng(0),
    )
    assert verdict(differences).deciding.statistic == statistic
