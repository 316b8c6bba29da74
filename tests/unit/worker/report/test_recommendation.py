"""Which model is recommended: by the gate and by groups that are known, never by scores that know none."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.report.accuracy import SplitDifference, Verdict, VerdictName
from masktune.contract.report.groups import GroupReason
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.vocabulary import Arm
from tests.support.reports import early_stage_groups
from worker.report.recommendation import (
    SEEDS,
    Choice,
    Treatment,
    best_plain,
    choose,
    images_to_review,
    more_seeds,
    trails_plain,
    weak_features,
)

Interval = tuple[float, float]

HEAD = Treatment(Arm.RETRAINED, "groups_inferred", "not_testable", is_reliable=True)
MASKED = Treatment(Arm.MASKTUNE, "masktune_helped", "not_testable")
HELPED = MASKED._replace(verdict="helped")
UNDIVIDED = HEAD._replace(differs=False)


def test_an_open_gate_recommends_the_retrained_head_without_any_figure() -> None:
    for trained_whole in (True, False):
        choice = choose([HEAD, MASKED], Arm.ERM, trained_whole=trained_whole)
        assert choice == Choice(Arm.RETRAINED, "groups_inferred", Arm.RETRAINED)


@pytest.mark.parametrize(("estimate", "arm"), [(-0.01, Arm.ERM), (0.01, Arm.RETRAINED)])
def test_where_groups_detect_nothing_the_higher_estimate_is_recommended(estimate: float, arm: Arm) -> None:
    trails = trails_plain(decided("no_detectable_effect", estimate))
    head = HEAD._replace(verdict="no_detectable_effect", trails_plain=trails)
    assert choose([head], Arm.ERM, trained_whole=False).arm is arm
    assert not trails_plain(decided("not_testable", estimate))


def test_where_one_training_of_a_whole_network_decided_more_seeds_are_advised() -> None:
    of_masktune = decided("helped", 0.1).model_copy(update={"a": Arm.MASKTUNE})
    assert [step.seeds for step in more_seeds(of_masktune, frozen=False)] == [SEEDS]
    assert more_seeds(of_masktune, frozen=True) == []
    assert more_seeds(decided("helped", 0.1), frozen=False) == []  # of a last layer
    assert more_seeds(of_masktune.model_copy(update={"verdict": "not_testable"}), frozen=False) == []
    assert more_seeds(None, frozen=False) == []


def decided(name: VerdictName, estimate: float) -> Verdict:
    """The head is far above its control; `estimate` is its difference to plain training."""
    interval: dict[str, Any] = {
        "low": -0.2,
        "high": 0.2,
        "confidence": 0.95,
        "n": 100,
        "a_only": 1,
        "b_only": 1,
    }
    interval |= {"statistic": "worst_group_accuracy", "resamples": 1, "strata": 4, "smallest": 20}
    control = {"a": Arm.RETRAINED, "b": Arm.RETRAINED_CONTROL, "split": "test", "verdict": name}
    to_control, to_plain = interval | {"estimate": 0.1}, interval | {"estimate": estimate}
    differences = {"deciding_difference": to_control, "accuracy_difference": to_control}
    return Verdict.model_validate(control | differences | {"erm_difference": to_plain})


@pytest.mark.parametrize("plain", [Arm.ERM, Arm.RETRAINED_CONTROL, Arm.MASKTUNE_CONTROL])
def test_a_closed_gate_recommends_the_best_plain_model_and_the_report_is_about_masktune(plain: Arm) -> None:
    choice = choose([UNDIVIDED, MASKED], plain, trained_whole=True)
    assert choice == Choice(plain, "no_minority", Arm.MASKTUNE)
    assert choose([UNDIVIDED], plain, trained_whole=False).subject is Arm.RETRAINED


@pytest.mark.parametrize(("trained_whole", "arm"), [(True, Arm.MASKTUNE), (False, Arm.RETRAINED)])
def test_of_two_masktune_goes_first_where_the_network_was_trained_whole(
    trained_whole: bool, arm: Arm
) -> None:
    assert choose([HEAD, HELPED], Arm.ERM, trained_whole=trained_whole).arm is arm


def test_without_a_reliable_gate_a_treatment_must_have_helped() -> None:
    mistakes = HEAD._replace(is_reliable=False)
    assert choose([mistakes], Arm.ERM, trained_whole=False) == Choice(Arm.ERM, "no_gain", Arm.RETRAINED)
    assert choose([mistakes._replace(verdict="helped")], Arm.ERM, trained_whole=False).arm is Arm.RETRAINED
    assert choose([MASKED], Arm.ERM, trained_whole=True).arm is Arm.ERM
    assert choose([HELPED], Arm.ERM, trained_whole=True).arm is Arm.MASKTUNE


@pytest.mark.parametrize("changes", [{}, {"val_verdict": "helped"}, {"verdict": "helped"}])
def test_what_a_plain_model_beats_by_groups_is_not_recommended(changes: dict[str, Any]) -> None:
    beaten = HEAD._replace(is_beaten=True, **changes)
    assert choose([beaten], Arm.ERM, trained_whole=False) == Choice(Arm.ERM, "hurt", Arm.RETRAINED)
    assert choose([beaten, HELPED], Arm.ERM, trained_whole=False).arm is Arm.MASKTUNE


def test_a_treatment_at_chance_leaves_a_plain_model() -> None:
    guessing = HEAD._replace(above_chance=False)
    assert choose([guessing], Arm.ERM, trained_whole=False) == Choice(Arm.ERM, "no_gain", Arm.RETRAINED)
    assert choose([guessing, HELPED], Arm.ERM, trained_whole=False).arm is Arm.MASKTUNE


def test_without_a_plain_model_above_chance_none_is_recommended() -> None:
    undivided = UNDIVIDED._replace(above_chance=False)
    for treatments in ([undivided], [undivided, MASKED], [undivided._replace(differs=True)]):
        choice = choose(treatments, None, trained_whole=True)
        assert (choice.arm, choice.reason) == (None, "not_above_chance")


def test_true_groups_of_val_decide_where_they_can() -> None:
    proven = MASKED._replace(val_verdict="helped", val_worst_group=0.8)
    choice = choose([HEAD, proven], Arm.ERM, trained_whole=False)
    assert choice == Choice(Arm.MASKTUNE, "val_groups", Arm.MASKTUNE)
    better = HEAD._replace(val_verdict="helped", val_worst_group=0.9)
    assert choose([better, proven], Arm.ERM, trained_whole=True).arm is Arm.RETRAINED


def difference(a: Arm, b: Arm, low: float, high: float) -> SplitDifference:
    return SplitDifference(
        split="test",
        a=a,
        b=b,
        statistic="balanced_accuracy",
        estimate=(low + high) / 2,
        low=low,
        high=high,
        confidence=0.95,
        n=400,
        a_only=9,
        b_only=9,
        resamples=1000,
        strata=2,
        smallest=200,
    )


ABOVE, BELOW, TIE = (0.01, 0.09), (-0.09, -0.01), (-0.01, 0.07)
PLAIN = (Arm.ERM, Arm.RETRAINED_CONTROL, Arm.MASKTUNE_CONTROL)


@pytest.mark.parametrize(
    ("head_erm", "control_erm", "control_head", "best"),
    [
        (TIE, TIE, TIE, Arm.ERM),
        (BELOW, BELOW, TIE, Arm.ERM),
        (TIE, TIE, ABOVE, Arm.ERM),
        (ABOVE, TIE, TIE, Arm.RETRAINED_CONTROL),
        (ABOVE, ABOVE, TIE, Arm.RETRAINED_CONTROL),
        (ABOVE, ABOVE, ABOVE, Arm.MASKTUNE_CONTROL),
        (TIE, ABOVE, TIE, Arm.MASKTUNE_CONTROL),
    ],
)
def test_no_plain_model_is_best_that_another_beats_and_ties_go_to_erm(
    head_erm: Interval, control_erm: Interval, control_head: Interval, best: Arm
) -> None:
    differences = [
        difference(Arm.RETRAINED_CONTROL, Arm.ERM, *head_erm),
        difference(Arm.MASKTUNE_CONTROL, Arm.ERM, *control_erm),
        difference(Arm.MASKTUNE_CONTROL, Arm.RETRAINED_CONTROL, *control_head),
    ]
    assert best_plain(PLAIN, differences) is best


def test_what_was_not_compared_is_a_tie_and_of_no_model_none_is_best() -> None:
    assert best_plain(PLAIN, []) is Arm.ERM
    assert best_plain([], []) is None


@pytest.mark.parametrize(
    ("reason", "samples"),
    [("stages_agree", [4, 2]), ("stages_disagree", [4, 2]), ("opened", []), ("closed", [])],
)
def test_who_has_looked_at_the_images_is_not_asked_again(reason: GroupReason, samples: list[int]) -> None:
    groups = early_stage_groups(reason, candidates=[4, 2])
    assert images_to_review(groups) == samples
    one = groups.details.model_copy(update={"candidates": [4]})
    assert images_to_review(groups.model_copy(update={"details": one})) == []
    assert images_to_review(None) == []
    answers = ReportImageAnswers(job="job_1", by="Ada", at=1.0, gate="open", answered=2, lacking=2)
    answered = groups.details.model_copy(update={"image_answers": answers})
    assert images_to_review(groups.model_copy(update={"details": answered})) == []
    undivided = images_to_review(groups.model_copy(update={"divided": False}))
    assert undivided == ([] if reason == "stages_agree" else samples)  # an open gate would divide as little


@pytest.mark.parametrize(
    ("balanced_accuracies", "chance", "best"),
    [
        ([0.6, 0.74], 0.5, 0.74),
        ([0.6, 0.75], 0.5, None),  # half of the way from chance to no mistakes
        ([0.5], 0.1, 0.5),
        ([0.6], 0.1, None),
        ([0.4], 0.5, 0.4),
        ([], 0.5, None),
    ],
)
def test_frozen_features_are_weak_where_the_best_plain_model_on_them_stays_near_chance(
    balanced_accuracies: list[float], chance: float, best: float | None
) -> None:
    steps = weak_features(balanced_accuracies, chance)
    assert [(step.balanced_accuracy, step.chance) for step in steps] == (
        [] if best is None else [(best, chance)]
    )
