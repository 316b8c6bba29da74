"""What to do next: a title, why, and the command that does it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from masktune.contract.report import Report
from masktune.contract.report.groups import GroupReason
from masktune.contract.report.recommendation import RecommendationReason
from masktune.contract.report.review import ReportReview
from masktune.contract.report.text import next_steps
from masktune.contract.report.text.groups import UNDIVIDED_REASONS, groups_lead, review_sentence
from masktune.contract.report.text.next_steps import recommendation_reason
from tests.support.reports import early_stage_groups, report

STEPS: list[dict[str, Any]] = [
    {"step": "use_model", "arm": "masktune", "model": "mdl_2"},
    {"step": "use_control", "arm": "masktune_control", "model": "mdl_3"},
    {"step": "add_test_images", "per_class": 100},
    {"step": "label_more", "per_class": 60},
    {"step": "review_images", "samples": [4, 2]},
    {"step": "compare_networks", "balanced_accuracy": 0.603, "chance": 0.5},
]


def recommending(reason: str = "masktune_helped", **changes: Any) -> Report:
    section = {"arm": "masktune", "model": "mdl_2", "reason": reason, "next": STEPS}
    return Report.model_validate(report() | {"recommendation": section} | changes)


def test_each_step_has_a_title_a_sentence_and_if_a_program_can_do_it_a_command() -> None:
    steps = next_steps(recommending())
    assert [step.name for step in steps] == [step["step"] for step in STEPS]
    assert all(step.title and step.sentence.endswith(".") for step in steps)
    commands = {step.name: step.command for step in steps if step.command}
    assert commands.keys() == {
        *("use_model", "use_control", "add_test_images", "review_images", "compare_networks")
    }
    assert commands["compare_networks"] == f"masktune fix {recommending().dataset.id} --compare-networks"
    assert commands["add_test_images"] == f"masktune evaluate {recommending().job} FOLDER --breaks-pattern"
    assert commands["use_model"] == "masktune models alias production mdl_2"
    assert "100 images of each class" in steps[2].sentence
    assert "each class has 60" in steps[3].sentence
    assert steps[4].title == "Look at 2 images"
    assert "60.3\u00a0%, guessing 50.0\u00a0%" in steps[5].sentence


def test_where_images_have_subjects_a_step_asks_for_enough_of_them() -> None:
    step = {"step": "add_test_images", "per_class": 100, "subjects": 10}
    section = {"arm": "masktune", "model": "mdl_2", "reason": "no_gain", "next": [step]}
    assert (
        "of at least 10 subjects in each class"
        in next_steps(recommending(recommendation=section))[0].sentence
    )
    assert "subjects" not in next_steps(recommending())[2].sentence


def test_a_review_is_kept_by_a_command() -> None:
    document = recommending(kind="mitigate")
    assert next_steps(document)[4].command == f"masktune jobs review {document.job} --yes"


def reviewed(gate: str, **changes: Any) -> dict[str, Any]:
    lacking = 46 if gate == "open" else 4
    counts = {"gate": gate, "answered": 50, "lacking": lacking}
    return {"job": "job_1", "by": "Ada", "at": 1_700_000_000.0} | counts | changes


@pytest.mark.parametrize("divided", [True, False])
@pytest.mark.parametrize(
    ("gate", "confirmed"),
    [
        ("open", "Confirmed by Ada on 14 Nov 2023, 22:13 UTC: 46 of 50 images lack a pattern"),
        ("closed", "Not confirmed by Ada on 14 Nov 2023, 22:13 UTC: 4 of 50 images lack a pattern"),
    ],
)
def test_the_answer_to_a_review_is_shown_and_the_same_kind_of_job_goes_by_it(
    gate: str, confirmed: str, divided: bool
) -> None:
    groups = early_stage_groups("stages_agree", divided=divided).model_dump()
    document = recommending(kind="mitigate", review=reviewed(gate), groups=groups)
    step = next_steps(document)[4]
    assert step.sentence.startswith(confirmed)
    assert ("went by that already" in step.sentence) is (divided is (gate == "open"))
    assert step.command == f"masktune jobs start mitigate --dataset {document.dataset.id}"
    head = recommending(kind="retrain_head", review=reviewed(gate))
    model = head.models[head.before or next(iter(head.models))].id
    assert next_steps(head)[4].command == f"masktune jobs start retrain_head --model {model}"


def test_who_has_no_name_is_not_named() -> None:
    sentence = review_sentence(ReportReview.model_validate(reviewed("open", by=None)))
    assert sentence.startswith("Confirmed on 14 Nov 2023, 22:13 UTC: 46 of 50")


@pytest.mark.parametrize("reason", ["stages_agree", "opened", "closed"])
def test_groups_that_a_review_decided_say_so(reason: GroupReason) -> None:
    review = reviewed("closed" if reason == "closed" else "open")
    groups = early_stage_groups(reason, divided=reason != "closed", review=review)
    assert groups.details.review is not None
    assert review_sentence(groups.details.review) in groups_lead(groups)
    assert "Ada" not in groups_lead(early_stage_groups(reason))
    why = "no_minority" if reason == "closed" else "groups_inferred"
    document = recommending(why, groups=groups.model_dump())
    assert recommendation_reason(document).endswith(review_sentence(groups.details.review))


def test_of_two_controls_a_step_names_the_one_that_it_means() -> None:
    head = [{"step": "use_control", "arm": "retrained_control", "model": "mdl_3"}]
    section = {"arm": "retrained_control", "model": "mdl_3", "reason": "no_gain", "next": head}
    assert next_steps(recommending(recommendation=section))[0].title == "Use the control head"
    assert next_steps(recommending())[1].title == "Use the control"


def plain(arm: str, *differences: tuple[str, str, float, float], reason: str = "no_gain") -> str:
    """Why this plain model is recommended, by the lower and upper end of each difference a − b."""
    figures = report()["verdict"]["deciding_difference"]
    rows = [
        figures
        | {"split": "test", "a": a, "b": b, "estimate": (low + high) / 2, "low": low, "high": high}
        | {"statistic": "worst_group_accuracy"}
        for a, b, low, high in differences
    ]
    step = {"step": "use_model", "arm": arm, "model": "mdl_1"}
    section = {"arm": arm, "model": "mdl_1", "reason": reason, "differences": rows, "next": [step]}
    (told,) = next_steps(recommending(recommendation=section))
    assert told.command == "masktune models alias production mdl_1"
    return f"{told.title}. {told.sentence}"


def test_erm_is_recommended_where_no_control_is_shown_to_be_better() -> None:
    assert plain("erm", ("retrained_control", "erm", -0.04, 0.02)) == (
        "Use the ERM model. Nothing shows that MaskTune is better than its control. The control head is not "
        "shown to be better than it."
    )
    assert plain("erm", ("retrained_control", "erm", -0.34, -0.14)) == (
        "Use the ERM model. Nothing shows that MaskTune is better than its control. On the test split, its "
        "worst-group accuracy is 24.0 points above that of the control head (95\u00a0% interval +14.0 to "
        "+34.0)."
    )


def test_a_control_is_recommended_over_erm_with_the_difference_that_shows_it() -> None:
    text = plain("masktune_control", ("masktune_control", "erm", 0.02, 0.06))
    assert text.startswith("Use the control. ")
    assert text.endswith(
        "On the test split, its worst-group accuracy is 4.0 points above that of the ERM model "
        "(95\u00a0% interval +2.0 to +6.0)."
    )


def test_who_beats_a_treatment_and_by_which_groups_is_named() -> None:
    text = plain("erm", ("masktune", "retrained_control", -0.2, -0.1), reason="hurt")
    assert "groups of the test split show that MaskTune is worse than the control head in the worst" in text


@pytest.mark.parametrize("reason", get_args(RecommendationReason))
def test_every_reason_is_a_sentence(reason: str) -> None:
    sentence = recommendation_reason(recommending(reason))
    assert sentence.endswith(".")
    assert "None" not in sentence
    assert "{" not in sentence


def test_a_step_that_rests_on_groups_says_what_the_test_images_show_of_it() -> None:
    def reason(verdict: str) -> str:
        decided = report()["verdict"] | {"verdict": verdict}
        return recommendation_reason(recommending("groups_inferred", verdict=decided))

    guess = reason("hurt")
    assert guess.startswith("Its last layer rests on a guess: ")
    assert reason("not_testable") == f"{guess} The test images cannot show whether this helped."
    assert reason("helped") == f"{guess} The test images show that this helped."


@pytest.mark.parametrize("reason", ["masktune_helped", "val_groups", "no_gain"])
def test_without_a_control_the_model_before_is_named_and_never_a_control(reason: str) -> None:
    verdict = report()["verdict"] | {"b": "erm"}
    sentence = recommendation_reason(recommending(reason, verdict=verdict))
    assert "better than the ERM model" in sentence
    assert "control" not in sentence


def test_a_report_without_a_recommendation_has_no_steps() -> None:
    document = recommending(recommendation=None)
    assert next_steps(document) == ()
    assert recommendation_reason(document) == ""


def test_without_a_model_to_use_more_images_are_asked_for_because_all_guess() -> None:
    section = {"arm": None, "model": None, "reason": "not_above_chance", "next": [STEPS[3]]}
    (step,) = next_steps(recommending(recommendation=section))
    assert step.sentence.startswith(recommendation_reason(recommending("not_above_chance")))
    assert "or bring images, for validation too, until each class has 60" in step.sentence


@pytest.mark.parametrize("why", UNDIVIDED_REASONS)
def test_a_plain_model_is_recommended_with_the_reason_why_no_class_was_divided(why: GroupReason) -> None:
    groups = early_stage_groups(why, divided=False)
    document = recommending("no_minority", groups=groups.model_dump())
    assert recommendation_reason(document) == UNDIVIDED_REASONS[why]
