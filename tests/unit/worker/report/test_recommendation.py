"""Which model is recommended: by the gate and by groups that are known, never by scores that know none."""

from __future__ import annotations

import pytest

from masktune.contract.report.groups import EarlyStageDetails, EarlyStageGroups, GroupReason
from masktune.contract.vocabulary import Arm
from worker.report.recommendation import Choice, Treatment, choose, images_to_review

HEAD = Treatment(Arm.RETRAINED, Arm.RETRAINED_CONTROL, "groups_inferred", "not_testable", is_reliable=True)
MASKED = Treatment(Arm.MASKTUNE, Arm.MASKTUNE_CONTROL, "masktune_helped", "not_testable")
HELPED = MASKED._replace(verdict="helped")
UNDIVIDED = HEAD._replace(differs=False)


def test_an_open_gate_recommends_the_retrained_head_without_any_figure() -> None:
    for trained_whole in (True, False):
        choice = choose([HEAD, MASKED], trained_whole=trained_whole)
        assert choice == Choice(Arm.RETRAINED, "groups_inferred", Arm.RETRAINED)


def test_a_closed_gate_recommends_the_control_and_the_report_is_about_masktune() -> None:
    choice = choose([UNDIVIDED, MASKED], trained_whole=True)
    assert choice == Choice(Arm.RETRAINED_CONTROL, "no_minority", Arm.MASKTUNE)
    assert choose([UNDIVIDED], trained_whole=False).subject is Arm.RETRAINED


@pytest.mark.parametrize(("trained_whole", "arm"), [(True, Arm.MASKTUNE), (False, Arm.RETRAINED)])
def test_of_two_masktune_goes_first_where_the_network_was_trained_whole(
    trained_whole: bool, arm: Arm
) -> None:
    assert choose([HEAD, HELPED], trained_whole=trained_whole).arm is arm


def test_without_a_reliable_gate_a_treatment_must_have_helped() -> None:
    mistakes = HEAD._replace(is_reliable=False)
    assert choose([mistakes], trained_whole=False) == Choice(Arm.RETRAINED_CONTROL, "no_gain", Arm.RETRAINED)
    assert choose([mistakes._replace(verdict="helped")], trained_whole=False).arm is Arm.RETRAINED
    assert choose([MASKED], trained_whole=True).arm is Arm.MASKTUNE_CONTROL
    assert choose([HELPED], trained_whole=True).arm is Arm.MASKTUNE


@pytest.mark.parametrize("hurt", [HEAD._replace(verdict="hurt"), HEAD._replace(val_verdict="hurt")])
def test_what_hurt_is_not_recommended(hurt: Treatment) -> None:
    assert choose([hurt], trained_whole=False) == Choice(Arm.RETRAINED_CONTROL, "hurt", Arm.RETRAINED)
    assert choose([hurt, HELPED], trained_whole=False).arm is Arm.MASKTUNE


def test_harm_that_no_groups_of_test_show_does_not_overrule_the_gate() -> None:
    """Where the test images have the shortcut too, whoever lost it is right less often."""
    worse = HEAD._replace(verdict="hurt", groups_in_test=False)
    assert choose([worse], trained_whole=False) == Choice(Arm.RETRAINED, "groups_inferred", Arm.RETRAINED)
    masked = MASKED._replace(verdict="hurt", groups_in_test=False)
    assert choose([masked], trained_whole=True).arm is Arm.MASKTUNE_CONTROL


def test_a_treatment_at_chance_leaves_the_control() -> None:
    guessing = HEAD._replace(above_chance=False)
    assert choose([guessing], trained_whole=False) == Choice(Arm.RETRAINED_CONTROL, "no_gain", Arm.RETRAINED)
    assert choose([guessing, HELPED], trained_whole=False).arm is Arm.MASKTUNE


def test_no_model_at_chance_is_recommended() -> None:
    undivided = UNDIVIDED._replace(above_chance=False, rival_above_chance=False)
    for treatments in ([undivided], [undivided, MASKED], [undivided._replace(differs=True)]):
        choice = choose(treatments, trained_whole=True)
        assert (choice.arm, choice.reason) == (None, "not_above_chance")


def test_true_groups_of_val_decide_where_they_can() -> None:
    proven = MASKED._replace(val_verdict="helped", val_worst_group=0.8)
    assert choose([HEAD, proven], trained_whole=False) == Choice(Arm.MASKTUNE, "val_groups", Arm.MASKTUNE)
    better = HEAD._replace(val_verdict="helped", val_worst_group=0.9)
    assert choose([better, proven], trained_whole=True).arm is Arm.RETRAINED


@pytest.mark.parametrize(
    ("reason", "samples"),
    [("stages_agree", [4, 2]), ("stages_disagree", [4, 2]), ("opened", []), ("closed", [])],
)
def test_who_has_looked_at_the_images_is_not_asked_again(reason: GroupReason, samples: list[int]) -> None:
    groups = EarlyStageGroups(
        source="early_stages",
        details=EarlyStageDetails(reason=reason, stage=None, agreements=[], candidates=[4, 2]),
        inferred=True,
        divided=True,
        split="train",
        n=10,
        penalty=1.0,
        control_penalty=None,
        held_out={},
        slices=[],
    )
    assert images_to_review(groups) == samples
    one = groups.details.model_copy(update={"candidates": [4]})
    assert images_to_review(groups.model_copy(update={"details": one})) == []
    assert images_to_review(None) == []
