"""What becomes of a job's recommendation, given the verdicts on images that were brought for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmDifference, NotTestableReason, Verdict
from masktune.contract.vocabulary import Arm
from tests.support.reports import report
from worker.report.judged_job import Judgement, judge, more_images
from worker.report.metrics import Figures

CONTROL_OF = {Arm.RETRAINED: Arm.RETRAINED_CONTROL, Arm.MASKTUNE: Arm.MASKTUNE_CONTROL}


def own(arm: Arm | None, *, after: Arm = Arm.RETRAINED) -> Report:
    section: dict[str, Any] = {"arm": arm, "model": arm and "mdl_1", "reason": "no_gain", "next": []}
    return Report.model_validate(report() | {"recommendation": section, "after": after})


def difference(low: float, high: float, *, statistic: str = "balanced_accuracy") -> dict[str, Any]:
    counts = {"n": 100, "a_only": 1, "b_only": 1, "resamples": 100, "strata": 2, "smallest": 50}
    return counts | {
        "statistic": statistic,
        "estimate": (low + high) / 2,
        "low": low,
        "high": high,
        "confidence": 0.95,
    }


def verdict(
    arm: Arm,
    name: str,
    low: float,
    high: float,
    *,
    groups: bool = False,
    reason: NotTestableReason | None = None,
) -> Verdict:
    deciding = difference(low, high, statistic="worst_group_accuracy" if groups else "balanced_accuracy")
    return Verdict.model_validate(
        {
            "verdict": name,
            "reason": reason,
            "split": "test",
            "a": arm,
            "b": CONTROL_OF[arm],
            "deciding_difference": deciding,
            "accuracy_difference": difference(low, high, statistic="accuracy"),
        }
    )


HELPED = verdict(Arm.RETRAINED, "helped", 0.1, 0.3)
HURT = verdict(Arm.RETRAINED, "hurt", -0.3, -0.1)
HURT_IN_GROUPS = verdict(Arm.RETRAINED, "hurt", -0.3, -0.1, groups=True)
SMALL = verdict(Arm.RETRAINED, "no_detectable_effect", -0.1, 0.2, groups=True)
BELOW_ERM = HURT_IN_GROUPS.model_copy(update={"against_erm": "below", "against_control": "undetected"})
BELOW_CONTROL = SMALL.model_copy(update={"against_erm": "above", "against_control": "below"})
UNKNOWN = verdict(Arm.RETRAINED, "not_testable", -0.1, 0.2, reason="no_groups")
ONE_CLASS = verdict(Arm.RETRAINED, "not_testable", 0.1, 0.2, reason="one_class")
FEW = verdict(Arm.RETRAINED, "not_testable", 0.1, 0.2, reason="few_subjects")
CONTROL = Arm.RETRAINED_CONTROL


@pytest.mark.parametrize(
    ("recommended", "on_images", "breaks_pattern", "expected"),
    [
        (Arm.RETRAINED, HELPED, True, (Arm.RETRAINED, "confirmed", None)),
        (CONTROL, HELPED, True, (Arm.RETRAINED, "changed", None)),
        (CONTROL, HELPED, False, (Arm.RETRAINED, "changed", None)),
        (Arm.RETRAINED, HURT, True, (CONTROL, "changed", None)),
        (Arm.RETRAINED, HURT_IN_GROUPS, False, (CONTROL, "changed", None)),
        (Arm.RETRAINED, BELOW_ERM, False, (Arm.ERM, "changed", None)),
        (Arm.RETRAINED, BELOW_CONTROL, False, (CONTROL, "changed", None)),
        (CONTROL, HURT, True, (CONTROL, "confirmed", None)),
        (Arm.RETRAINED, HURT, False, (Arm.RETRAINED, "undecided", "no_groups")),
        (CONTROL, HURT, False, (CONTROL, "undecided", "no_groups")),
        (Arm.RETRAINED, SMALL, False, (Arm.RETRAINED, "undecided", "few_images")),
        (CONTROL, SMALL, True, (CONTROL, "undecided", "few_images")),
        (Arm.RETRAINED, UNKNOWN, False, (Arm.RETRAINED, "undecided", "no_groups")),
        (CONTROL, ONE_CLASS, True, (CONTROL, "undecided", "one_class")),
        (CONTROL, FEW, True, (CONTROL, "undecided", "few_subjects")),
        (None, HELPED, True, (None, "undecided", None)),
    ],
)
def test_the_recommendation_stands_until_the_images_decide(
    recommended: Arm | None, on_images: Verdict, breaks_pattern: bool, expected: tuple[Any, ...]
) -> None:
    judged = judge(own(recommended), {Arm.RETRAINED: on_images}, [], breaks_pattern=breaks_pattern)
    assert (judged.arm, judged.outcome, judged.undecided) == expected


def test_of_two_that_are_better_than_their_controls_the_one_that_gained_more() -> None:
    verdicts = {Arm.RETRAINED: HELPED, Arm.MASKTUNE: verdict(Arm.MASKTUNE, "helped", 0.3, 0.5)}
    judged = judge(own(Arm.RETRAINED), verdicts, [], breaks_pattern=True)
    assert judged == Judgement(Arm.MASKTUNE, Arm.MASKTUNE, "changed")


@pytest.mark.parametrize(("high", "arm"), [(-0.05, Arm.ERM), (0.05, Arm.RETRAINED)])
def test_no_model_replaces_one_that_is_better_than_it(high: float, arm: Arm) -> None:
    against_erm = ArmDifference.model_validate(difference(-0.2, high) | {"a": Arm.RETRAINED, "b": Arm.ERM})
    judged = judge(own(Arm.ERM), {Arm.RETRAINED: HELPED}, [against_erm], breaks_pattern=True)
    assert judged.arm is arm


def test_a_job_without_a_treatment_is_measured_and_nothing_is_decided() -> None:
    plain = Report.model_validate(report() | {"recommendation": None, "after": None})
    assert judge(plain, {}, [], breaks_pattern=True) == Judgement(None, None, "undecided")


def test_more_images_are_for_the_difference_that_can_be_chance() -> None:
    """Beside the control it is decided, beside plain training it is not."""
    sizes = [SimpleNamespace(name=name, n=90) for name in ("own", "another")]
    of_arm = SimpleNamespace(groups=sizes, classes=[])
    figures = cast(Figures, SimpleNamespace(metrics={"test": {Arm.RETRAINED: of_arm}}))
    decided = difference(0.1, 0.3, statistic="worst_group_accuracy")
    undecided = difference(-0.1, 0.2, statistic="worst_group_accuracy")
    of_control = decided | {"worst_a": "another", "worst_b": "another"}
    of_erm = undecided | {"worst_a": "own", "worst_b": "own"}
    about = Verdict.model_validate(
        SMALL.model_dump() | {"deciding_difference": of_control, "erm_difference": of_erm}
    )
    more = more_images(about, figures, look=2)
    assert set(more) == {"own"}
    assert more["own"] > 90
    assert more_images(about, figures, look=3)["own"] > more["own"]
