"""Signs of a shortcut: each only where its figures say so; both kinds are strong evidence."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from masktune.contract.report import shortcut as section
from masktune.contract.report.text.answers import shortcut_answer
from models.evaluation.metrics import Metrics, Names, metrics
from models.shortcuts.masking_cost import MaskedPredictions, MaskingCost, masking_cost
from models.shortcuts.reliance import Sign, of_groups, of_mask, of_property, of_shift, read

Labels = NDArray[np.int64]


def grouped(*counts: tuple[int, int]) -> Metrics:
    """A group for each (right, all)."""
    groups = np.repeat(np.arange(len(counts)), [n for _, n in counts])
    right = np.concatenate([np.arange(n) < k for k, n in counts])
    names = Names(("a",), ("land", "water", "air"))
    return metrics(np.zeros(len(groups), np.int64), np.where(right, 0, 1), groups=groups, names=names)


def measured(*shares: float, n: int = 200) -> Metrics:
    """A group of `n` samples for each share of right answers."""
    return grouped(*((round(share * n), n) for share in shares))


@pytest.mark.parametrize(
    ("shares", "found"),
    [((0.95, 0.6), True), ((0.95, 0.95), False), ((0.99, 0.96), False), ((0.95, 0.94, 0.5), True)],
)
def test_a_worst_group_far_below_the_average_is_a_sign(shares: tuple[float, ...], found: bool) -> None:
    sign = of_groups(measured(*shares), split="test")
    assert sign is not None
    assert (sign.present, sign.kind, sign.n) == (found, "failure", 200 * len(shares))
    assert f"{100 * min(shares):.1f} %" in sign.sentence


def test_a_group_of_one_image_lends_its_gap_to_no_other() -> None:
    """Water is lower for sure, but by two points; air is lower by 95, but is a single image."""
    sign = of_groups(grouped((76_160, 80_000), (18_600, 20_000), (0, 1)), split="test")
    assert sign is not None
    assert not sign.present
    assert ") in its worst group, air, and" in sign.sentence


@pytest.mark.parametrize("few", [(0, 1), (7, 10), (1, 2)])
def test_a_few_mistakes_in_a_small_group_are_no_sign(few: tuple[int, int]) -> None:
    """Of 18 such groups that are right in 95 %, one or more look like this in 60 %, 19 % or 84 % of draws."""
    sign = of_groups(grouped((19_000, 20_000), (19_000, 20_000), *[few] * 18), split="test")
    assert sign is not None
    assert not sign.present


def test_the_group_that_is_surely_lower_is_the_one_that_is_told() -> None:
    sign = of_groups(grouped((950, 1000), (600, 1000), (0, 1)), split="test")
    assert sign is not None
    assert sign.present
    assert "its accuracy is 60.0 % (56.9–63.7) in one group, water, and" in sign.sentence


def test_a_gap_that_chance_would_make_is_no_sign() -> None:
    few = of_groups(measured(0.9, 0.6, n=10), split="test")
    assert few is not None
    assert not few.present


def judged(share: float, *, classes: int = 2, n: int = 100) -> Metrics:
    """`n` samples of each class, this share of them right."""
    labels = np.repeat(np.arange(classes), n)
    right = np.tile(np.arange(n) < round(share * n), classes)
    return metrics(labels, np.where(right, labels, (labels + 1) % classes))


@pytest.mark.parametrize(
    ("share", "classes", "counts"), [(0.42, 2, False), (0.55, 2, False), (0.8, 2, True), (0.55, 4, True)]
)
def test_the_failures_of_a_model_that_guesses_are_no_signs(share: float, classes: int, counts: bool) -> None:
    failure, cause = of_groups(measured(0.6, 0.1), split="test"), Sign("property", "cause", True, 5, "Told.")
    assert failure is not None
    assert failure.present
    found = read([failure, cause], judged(share, classes=classes))
    assert [sign.present for sign in found.signs] == [counts, True]
    assert found.evidence == ("strong" if counts else "some")
    assert ("no better than a guess" in found.signs[0].sentence) is not counts
    assert found.reason is None


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize(("share", "evidence"), [(0.52, "not_testable"), (0.8, None)])
def test_a_model_that_guesses_is_not_said_to_be_free_of_shortcuts(
    share: float, evidence: str | None, fails: bool
) -> None:
    failure, cause = Sign("shift", "failure", fails, 9, "Told."), Sign("mask", "cause", False, 9, "Told.")
    found = read([failure, cause], judged(share), judged=measured(0.9, 0.9))
    assert found.evidence == (evidence or ("some" if fails else "none_seen"))
    assert found.reason == (
        "On validation, its mean accuracy over classes is 52.0 % (45.1–58.8), no better than a guess "
        "(50.0 %): it has learned nothing, or only what does not hold there."
        if evidence
        else None
    )


def test_answers_that_are_no_numbers_are_not_judged() -> None:
    validation = metrics(np.arange(40) % 2, np.full(40, -1))
    assert read([Sign("mask", "cause", False, 9, "…")], validation).evidence == "not_testable"


def test_without_two_classes_nobody_can_guess() -> None:
    failure = of_groups(measured(0.6, 0.1), split="test")
    assert failure is not None
    assert read([failure], judged(0.3, classes=1)).signs == (failure,)


def test_one_group_or_none_cannot_be_compared() -> None:
    assert of_groups(measured(0.5), split="test") is None
    labels = np.zeros(10, np.int64)
    assert of_groups(metrics(labels, labels), split="test") is None


@pytest.mark.parametrize(("test", "found"), [(0.5, True), (0.97, False), (0.99, False)])
def test_what_does_not_hold_on_the_test_split_is_a_sign(test: float, found: bool) -> None:
    assert of_shift(measured(0.99), measured(test)).present is found


def cost(changed: float, elsewhere: float, masked: float) -> MaskingCost:
    n = 200
    labels = np.zeros(n, np.int64)
    own, other = (np.where(np.arange(n) < share * n, 1, 0) for share in (changed, elsewhere))
    answers = MaskedPredictions(np.arange(n), labels, np.full(n, masked), labels, own, other)
    return masking_cost(answers, generator=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("changed", "elsewhere", "masked", "found"),
    [
        (0.5, 0.02, 0.03, True),
        (0.5, 0.02, 0.4, False),  # a large mask damages the image
        (0.5, 0.45, 0.03, False),  # so does the same mask elsewhere
        (0.08, 0.0, 0.03, False),  # too few answers
    ],
)
def test_a_small_mask_that_changes_much_is_a_sign(
    changed: float, elsewhere: float, masked: float, found: bool
) -> None:
    assert of_mask(cost(changed, elsewhere, masked), split="val").present is found


def test_empty_masks_are_spoken_of_beside_what_masks_change() -> None:
    assert "it hides nothing" not in of_mask(cost(0.5, 0.02, 0.03), split="val").sentence
    empty = of_mask(cost(0.0, 0.0, 0.0), split="val").sentence
    assert empty.endswith("the same mask elsewhere. On 200 of 200 images, it hides nothing.")


def test_a_simple_property_is_a_sign_where_it_is_rated_strong() -> None:
    check = {"n": 90, "sentence": "The corner tells a from b.", "findings": [{"p_value": 0.005}]}
    for strength, found in (("strong", True), ("weak", False), ("none", False)):
        sign = of_property(check | {"strength": strength})
        assert sign is not None
        assert (sign.present, sign.kind, sign.n) == (found, "cause", 90)
    assert of_property({"findings": []}) is None


@pytest.mark.parametrize(
    ("shares", "evidence"),
    [
        ((1.0, 0.99, 0.43, 0.30), "large_gap"),
        ((0.9, 0.5), "some"),  # 20 points below the average
        ((0.9, 0.48), "large_gap"),
        ((0.95, 0.7), "some"),
        ((0.95, 0.95), "none_seen"),
    ],
)
def test_the_evidence_of_a_worst_group_follows_the_size_of_its_gap(
    shares: tuple[float, ...], evidence: str
) -> None:
    split = measured(*shares)
    sign = of_groups(split, split="test")
    assert sign is not None
    reliance = read([sign], judged=split)
    assert reliance.evidence == evidence
    answer = shortcut_answer(section.ShortcutReliance.model_validate(reliance))
    assert "relies on a shortcut" not in answer
    assert (sign.sentence in answer) == (evidence == "large_gap")
    assert read([sign, Sign("mask", "cause", True, 9, "…")], judged=split).evidence == (
        "strong" if sign.present else "some"
    )


def test_a_large_gap_in_a_group_that_is_too_small_is_no_strong_sign() -> None:
    split = grouped((2_000, 2_000), (0, 3))
    sign = of_groups(split, split="test")
    assert sign is not None
    assert sign.present
    assert read([sign], judged=split).evidence == "some"


def test_a_large_gap_of_a_model_that_guesses_is_no_strong_sign() -> None:
    sign, cause = of_groups(measured(0.9, 0.1), split="test"), Sign("mask", "cause", True, 9, "…")
    assert sign is not None
    assert read([sign, cause], judged(0.5)).evidence == "some"


@pytest.mark.parametrize(
    ("failure", "cause", "evidence"),
    [
        (True, True, "strong"),
        (True, False, "some"),
        (False, True, "some"),
        (False, False, "none_seen"),
    ],
)
def test_a_failure_and_a_cause_together_are_a_shortcut(failure: bool, cause: bool, evidence: str) -> None:
    signs = [Sign("shift", "failure", failure, 9, "…"), Sign("mask", "cause", cause, 9, "…")]
    found = read(signs, judged=measured(0.9, 0.9))
    assert found.evidence == evidence
    written = section.ShortcutReliance.model_validate(found).model_dump(mode="json")
    assert written["signs"][1]["present"] is cause
    assert found.reason is None


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (None, "was judged on training images alone"),
        (judged(0.9), "but the test split has no groups that say which of its images break a pattern"),
        (grouped((100, 100)), "all images of the test split that have a group are in the same one, land"),
        (grouped((100, 100), (9, 9)), "fewer than two groups of the test split have 10 images"),
        (
            grouped((40, 40), (40, 40), *[(9, 9)] * 9),
            "groups of the test split that have 10 images hold less than half of its images",
        ),
    ],
    ids=["training images", "no groups", "one group", "small groups", "groups of less than half"],
)
def test_why_a_failure_would_not_show_is_the_true_reason(split: Metrics | None, told: str) -> None:
    found = read([Sign("shift", "failure", False, 9, "…")], judged(0.9), judged=split)
    assert found.evidence == "not_testable"
    assert found.reason is not None
    assert told in found.reason
    assert ("no groups" in found.reason) == ("no groups" in told)


def test_groups_of_ten_images_would_show_a_failure() -> None:
    groups = grouped((100, 100), (10, 10))
    found = read([Sign("shift", "failure", False, 9, "…")], judged(0.9), judged=groups)
    assert (found.evidence, found.reason) == ("none_seen", None)


@pytest.mark.parametrize(("lacking", "evidence"), [((2,), "not_testable"), ((1, 2), "none_seen")])
def test_only_groups_that_lack_the_pattern_acquit(lacking: tuple[int, ...], evidence: str) -> None:
    """The first two groups are large, the third is not."""
    groups, sign = grouped((100, 100), (40, 40), (9, 9)), Sign("shift", "failure", False, 9, "…")
    reliance = read([sign], judged(0.9), judged=groups, lacking=lacking)
    assert reliance.evidence == evidence
    assert reliance.reason is None or "of no class do 10 images of the test split lack" in reliance.reason


def test_images_of_subjects_need_as_many_subjects_in_a_group() -> None:
    labels, groups = np.zeros(60, np.int64), np.repeat([0, 1], 30)
    few = metrics(labels, labels, groups=groups, clusters=np.arange(60) // 6)
    reason = read([Sign("shift", "failure", False, 9, "…")], judged=few).reason or ""
    assert "fewer than two groups of the test split have 10 subjects" in reason


@pytest.mark.parametrize("small", [(8, 15), (1, 3)])
def test_a_known_group_that_seems_worse_is_never_said_to_show_no_sign(small: tuple[int, int]) -> None:
    """53 % in a group of 15: too few to be sure, and yet no reason to say that there is none."""
    split = grouped((70, 100), (70, 100), small)
    sign = of_groups(split, split="test")
    assert sign is not None
    assert not sign.present
    found = read([sign], judged(0.9), judged=split)
    assert found.evidence == "not_testable"
    assert found.reason is not None
    assert f"its accuracy is {100 * small[0] / small[1]:.1f} % (" in found.reason
    assert "in the group air, and" in found.reason
    assert found.reason.endswith("that may be chance, or a shortcut.")


def test_a_column_that_tells_the_class_is_never_passed_over_in_silence() -> None:
    sign, split = Sign("shift", "failure", False, 9, "…"), measured(0.9, 0.9)
    column = "The metadata column scanner alone tells a from b with 97.0 % accuracy (chance: 50.0 %)."
    found = read([sign], judged(0.9), judged=split, column=column)
    assert found.evidence == "not_testable"
    assert found.reason == (
        f"{column} No check says whether the model goes by it: it may be a shortcut, or say the class in "
        "other words."
    )
    fails = Sign("shift", "failure", True, 9, "…")
    assert read([fails], judged(0.9), judged=split, column=column).reason is None


def test_where_nothing_was_looked_at_nothing_is_judged() -> None:
    assert (read([]).evidence, read([]).reason) == ("not_testable", "There was nothing to check.")
