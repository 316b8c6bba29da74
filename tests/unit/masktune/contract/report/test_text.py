"""Each sentence of a report, once: it follows from the figures, and nothing is said that they do not show."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from masktune.contract.report import Report
from masktune.contract.report.accuracy import BackgroundGap, NotTestableReason
from masktune.contract.report.base import StatisticName
from masktune.contract.report.groups import GroupReason
from masktune.contract.report.probabilities import Certificates
from masktune.contract.report.shortcut import Evidence, ShortcutReliance, SignName
from masktune.contract.report.text import answers, percent, points, verdict, whole_percent
from masktune.contract.report.text import notes as text_notes
from masktune.contract.report.text.answers import EVIDENCE, shortcut_answer
from masktune.contract.report.text.formats import (
    first_names,
    more_of_100,
    out_of_100,
    points_apart,
    points_interval,
    sample_count,
)
from masktune.contract.report.text.groups import UNDIVIDED_REASONS, groups_lead
from masktune.contract.report.text.names import (
    ARM_DESCRIPTIONS,
    ARM_NAMES,
    SIGN_NAMES,
    STATISTICS,
    in_order,
    says_nothing_of_quality,
    split_note,
    splits_in_order,
    statistics_in_order,
)
from masktune.contract.vocabulary import Arm
from tests.support.reports import early_stage_groups, evidence, report

Json = dict[str, Any]


def typed(value: Json) -> Report:
    return Report.model_validate(value)


def decided(verdict_name: str, b: str = "masktune_control", **difference: Any) -> Report:
    """A report with this verdict, against arm b, and these figures of the deciding difference."""
    value = report()
    value["verdict"] |= {"verdict": verdict_name, "b": b}
    value["verdict"]["deciding_difference"] |= difference
    return typed(value)


# --- formats and names ---------------------------------------------------------------------------


def test_a_difference_is_more_or_fewer_of_a_hundred() -> None:
    assert [more_of_100(d) for d in (0.15, -0.15, 0.004, 0.0)] == [
        "15 more of 100",
        "15 fewer of 100",
        "0.4 more of 100",
        "0 more of 100",
    ]


def test_differences_are_percentage_points_and_shares_percent() -> None:
    assert (points(0.123), points(-0.04)) == ("+12.3", "−4.0")
    assert points_interval(-0.02, 0.2) == "−2.0 to +20.0"
    assert [points_apart(d) for d in (0.05, -0.05, 0.0001)] == [
        "5.0 points above",
        "5.0 points below",
        "level with",
    ]
    assert (percent(0.762), percent(None), whole_percent(0.05)) == ("76.2\u00a0%", "–", "5\u00a0%")


def test_the_first_names_are_listed_and_the_others_counted() -> None:
    assert first_names(["a", "b"]) == "a, b"
    assert first_names(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_everything_that_a_report_can_name_has_a_name() -> None:
    assert set(ARM_NAMES) == set(ARM_DESCRIPTIONS) == set(Arm)
    assert set(STATISTICS) == set(get_args(StatisticName))
    assert set(SIGN_NAMES) == set(get_args(SignName))
    assert set(EVIDENCE) == set(get_args(Evidence))
    assert in_order([Arm.MASKTUNE, Arm.MASKTUNE_CONTROL, Arm.ERM]) == [
        Arm.ERM,
        Arm.MASKTUNE_CONTROL,
        Arm.MASKTUNE,
    ]


def test_unknown_arms_come_last() -> None:
    assert in_order({"new": 1, "masktune": 1, "erm": 1}) == ["erm", "masktune", "new"]


def test_splits_that_say_nothing_of_quality_come_last_and_say_so() -> None:
    from models.data.splits import ALL_SPLITS, WITHOUT_OBJECT

    assert {split for split in ALL_SPLITS if says_nothing_of_quality(split)} == {"train", *WITHOUT_OBJECT}
    value = report()
    value["metrics"] = dict.fromkeys(("only_bg_t", "train", "val", "test"), value["metrics"]["test"])
    assert splits_in_order(typed(value)) == ["test", "val", "only_bg_t", "train"]
    assert "Lower is better." in split_note(typed(value), "only_bg_t")
    assert split_note(typed(value), "test") == "None of the models was trained on this split."


def test_classes_without_an_image_in_a_split_are_named_beside_its_figures() -> None:
    value = report()
    value["dataset"]["classes"] = [*value["dataset"]["classes"], "ten"]
    assert split_note(typed(value), "test").endswith(
        "No image of ten is in test, so its figures leave them out."
    )


def test_subjects_that_the_models_know_are_a_caveat_of_the_split_and_of_its_verdict() -> None:
    value = report()
    value["dataset"] |= {
        "split_subjects": {"train": 100, "val": 20, "test": 40},
        "shared_subjects": {"test": {"train": 12, "val": 1}},
    }
    typed_report = typed(value)
    caveat = (
        "Of the 40 subjects of test, 12 are also in train and 1 is also in val: these figures are too good, "
        "for the models know those subjects."
    )
    assert split_note(typed_report, "test") == f"None of the models was trained on this split. {caveat}"
    assert caveat in verdict(typed_report).sentence
    assert "subjects" not in split_note(typed_report, "val")
    assert "subjects" not in verdict(typed(report())).sentence


def test_the_worst_class_is_listed_only_without_groups() -> None:
    assert "worst_class_accuracy" not in statistics_in_order(typed(report()), "test")
    assert "worst_class_accuracy" in statistics_in_order(typed(report(groups=False)), "test")


# --- the verdict ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tone", "title"),
    [
        ("helped", "good", "MaskTune helped"),
        ("hurt", "bad", "MaskTune hurt"),
        ("no_detectable_effect", "neutral", "No detectable effect"),
    ],
)
def test_a_verdict_names_the_difference_that_decided(name: str, tone: str, title: str) -> None:
    text = verdict(decided(name, estimate=0.1, low=-0.02, high=0.2, n=400))
    assert (text.tone, text.title) == (tone, title)
    assert "400 distinct samples of the test split, its worst-group accuracy is 10.0 points" in text.figures
    assert "that of the control (95\u00a0% interval −2.0 to +20.0)" in text.figures
    assert re.search(r"Its average accuracy is [\d.]+ points above that of the control\.", text.figures)
    assert ("can be chance" in text.sentence) == (name == "no_detectable_effect")
    assert "No control was trained" not in text.sentence
    assert "chosen beforehand, decides: that in worst-group accuracy" in text.rule
    assert "without masks" in text.rule


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("helped", "MaskTune is better than ERM"),
        ("hurt", "MaskTune is worse than ERM"),
        ("no_detectable_effect", "No detectable effect"),
    ],
)
def test_a_gain_without_control_is_not_called_help(name: str, title: str) -> None:
    text = verdict(decided(name, b="erm"))
    assert text.title == title
    assert "No control was trained" in text.sentence
    assert "There is no control" in text.rule


def test_a_verdict_says_which_groups_it_is_about() -> None:
    worst = {"worst_a": "gull on land", "worst_b": "gull at sea"}
    text = verdict(decided("helped", left_out=2, **worst)).figures
    assert "its lowest is gull on land, that of the control is gull at sea" in text
    assert "among groups with at least 10 samples (2 have fewer)" in text
    assert "have fewer" not in verdict(decided("helped", left_out=0, **worst)).figures
    assert "its lowest" not in verdict(decided("helped", worst_a=None, worst_b=None)).figures


def test_a_verdict_over_seeds_is_about_their_mean_and_names_each() -> None:
    value = report()
    value["verdict"] |= {
        "verdict": "helped",
        "seeds": [{"seed": 7, "estimate": 0.2}, {"seed": 8, "estimate": 0.1}],
    }
    value["verdict"]["deciding_difference"]["estimate"] = 0.15
    text = verdict(typed(value))
    assert text.sentence.startswith(
        "Over 2 seeds, MaskTune is right on 15 more of 100 images of its hardest group than the control. "
    )
    assert "split and over 2 seeds, its worst-group accuracy" in text.figures
    assert text.figures.endswith("in points: +20.0 with seed 7, +10.0 with seed 8.")
    assert "any seed" in text.rule
    assert "another seed" in verdict(decided("helped")).rule


def test_a_verdict_is_told_in_counts_out_of_a_hundred() -> None:
    value = report()
    for arm, accuracy, worst in (("masktune", 0.96, 0.904), ("masktune_control", 0.97, 0.74)):
        of_arm = value["metrics"]["test"][arm]
        of_arm["accuracy"] = accuracy
        for group in of_arm["groups"]:
            group["accuracy"] = worst
    assert verdict(typed(value)).sentence == (
        "MaskTune is right on 90 of 100 images of its hardest group, the control on 74. Over all 400 test "
        "images, it is right on 96 of 100, the control on 97. A difference this large is unlikely to be "
        "chance."
    )


@pytest.mark.parametrize(
    ("a", "b", "counts"),
    [(0.904, 0.74, ("90", "74")), (0.95, 0.954, ("95.0", "95.4")), (0.95, 0.95, ("95", "95"))],
)
def test_counts_have_a_decimal_only_where_it_tells_them_apart(
    a: float, b: float, counts: tuple[str, str]
) -> None:
    assert out_of_100(a, b) == counts


@pytest.mark.parametrize("name", ["helped", "not_testable"])
def test_without_groups_a_small_difference_is_not_testable(name: str) -> None:
    value = report(groups=False)
    value["verdict"] |= {"verdict": name, "reason": "no_groups" if name == "not_testable" else None}
    text = verdict(typed(value))
    assert "of 100 images of a class on average, the control on" in text.sentence
    assert "balanced accuracy" in text.figures
    untestable = (text.tone, text.title) == ("muted", "Not testable here")
    assert untestable == ("a larger one may be hidden" in text.sentence) == (name == "not_testable")


def lower_without_groups() -> Json:
    """MaskTune is right on 92 of 100 images of either class, the control on 98; no groups are known."""
    right = {Arm.ERM: 0.98, Arm.MASKTUNE_CONTROL: 0.98, Arm.MASKTUNE: 0.92}
    value = report(right={arm: (share,) * 4 for arm, share in right.items()}, n=4000, groups=False)
    for arm, share in right.items():
        value["metrics"]["test"][arm] |= {"accuracy": share, "balanced_accuracy": share}
    return value


def test_harm_without_groups_is_not_told_from_a_shortcut_that_was_given_up() -> None:
    value = lower_without_groups()
    assert (value["verdict"]["verdict"], value["verdict"]["reason"]) == ("not_testable", "shortcut_or_harm")
    text = verdict(typed(value))
    assert (text.tone, text.title) == ("neutral", "Not testable here")
    assert text.sentence == (
        "MaskTune was made to give up a pattern. On images like the training images it is right on 92 of 100 "
        "instead of 98. That is what giving up a shortcut looks like, and these images cannot tell it from "
        "harm."
    )
    assert re.search(r"its balanced accuracy is [\d.]+ points below that of the control", text.figures)


def test_a_share_that_is_of_a_class_on_average_says_so() -> None:
    value = lower_without_groups()
    value["metrics"]["test"]["masktune"]["balanced_accuracy"] = 0.81
    text = verdict(typed(value)).sentence
    assert "it is right on 81 of 100 images of a class on average instead of 98." in text


def test_test_images_that_are_unlike_validation_are_not_said_to_be_like_the_training_images() -> None:
    value = lower_without_groups()
    value["shortcut_reliance"] = _reliance("some").model_dump(mode="json")
    text = verdict(typed(value)).sentence
    assert "On the test images it is right on 92 of 100 instead of 98. They are unlike the" in text
    assert "like the training images" not in text


def test_a_lower_accuracy_over_seeds_is_that_of_their_mean() -> None:
    value = lower_without_groups()
    value["verdict"]["seeds"] = [{"seed": 7, "estimate": -0.2}, {"seed": 8, "estimate": -0.1}]
    value["verdict"]["deciding_difference"]["estimate"] = -0.15
    assert verdict(typed(value)).sentence.startswith(
        "MaskTune was made to give up a pattern. Over 2 seeds, it is right on 15 fewer of 100 images like "
        "the training images than the control. That is what giving up a shortcut looks like"
    )


@pytest.mark.parametrize(
    ("reason", "told", "untold"),
    [
        ("no_groups", "no groups say which of these images break a pattern", "10 images"),
        ("one_group", "are all in the same one", "no groups"),
        ("small_groups", "fewer than two groups have 10 images here", "no groups"),
        ("few_in_groups", "groups that have 10 images here hold less than half", "no groups"),
    ],
)
def test_why_groups_could_not_decide_is_the_true_reason(reason: str, told: str, untold: str) -> None:
    value = report(groups=False)
    value["verdict"] |= {"verdict": "not_testable", "reason": reason}
    sentence = verdict(typed(value)).sentence
    assert told in sentence
    assert untold not in sentence
    value["verdict"]["deciding_difference"]["n_subjects"] = 100
    assert verdict(typed(value)).sentence == sentence.replace("10 images", "10 subjects")


def test_every_reason_of_a_verdict_that_cannot_be_tested_has_a_sentence() -> None:
    for reason in set(get_args(NotTestableReason)) - {"not_above_chance"}:  # whose models are named instead
        value = report(groups=False)
        value["verdict"] |= {"verdict": "not_testable", "reason": reason}
        assert verdict(typed(value)).sentence.endswith(".")


def test_a_model_that_guesses_gets_no_verdict_but_its_figures() -> None:
    interval = {"balanced_accuracy": 0.52, "low": 0.45, "high": 0.59}
    at_chance = {"arm": "masktune", "n": 150, "chance": 0.5} | interval
    value = report()
    value["verdict"] |= {"verdict": "not_testable", "reason": "not_above_chance", "at_chance": [at_chance]}
    text = verdict(typed(value))
    assert (text.tone, text.title) == ("muted", "Not testable here")
    assert text.sentence.startswith("On the validation images, MaskTune cannot be told from guessing.")
    assert text.figures == (
        "On 150 distinct samples of the validation split, the balanced accuracy of MaskTune is 52.0\u00a0% "
        "(95\u00a0% interval 45.0 – 59.0); that of a guess is 50.0\u00a0%."
    )
    at_chance["seed"] = 4
    assert "MaskTune with seed 4 cannot be told from guessing" in verdict(typed(value)).sentence


def test_a_retrained_head_has_a_control_of_its_own() -> None:
    value = report()
    by_arm = value["metrics"]["test"]
    by_arm |= {"retrained": by_arm["masktune"], "retrained_control": by_arm["masktune_control"]}
    value["verdict"] |= {"a": "retrained", "b": "retrained_control"}
    text = verdict(typed(value))
    assert text.title == "The retrained head helped"
    assert "refitted without groups" in text.rule


def test_a_model_that_helped_but_is_worse_than_erm_is_not_told_in_green() -> None:
    value = report()
    value["verdict"] |= {"verdict": "helped", "beaten_by": "erm"}
    text = verdict(typed(value))
    assert (text.tone, text.title) == (
        "neutral",
        "MaskTune is better than the control, but worse than the ERM model",
    )
    assert "In the worst group, the ERM model beats MaskTune." in text.sentence


@pytest.mark.parametrize("divided", [True, False])
def test_a_retrained_head_that_equals_its_control_is_not_said_to_differ_by_chance(divided: bool) -> None:
    value = report(groups=False)
    by_arm = value["metrics"]["test"]
    by_arm |= {"retrained": by_arm["masktune"], "retrained_control": by_arm["masktune"]}
    value["verdict"] |= {"a": "retrained", "b": "retrained_control"}
    value["verdict"] |= {"verdict": "not_testable", "reason": "no_groups"}
    value["groups"] = early_stage_groups("stages_agree", divided=divided).model_dump()
    told = typed(value)
    assert ("can be chance" in verdict(told).sentence) == divided
    assert (verdict(told).sentence == UNDIVIDED_REASONS["stages_agree"]) == (not divided)
    assert told.groups is not None
    assert ("A guess." in groups_lead(told.groups)) == divided


def test_without_a_second_model_there_is_no_verdict() -> None:
    text = verdict(typed(report(right={Arm.ERM: (0.9,) * 4})))
    assert (text.tone, text.title, text.rule) == ("neutral", "No comparison", "")
    assert "A masktune job" in text.sentence


# --- the answers ---------------------------------------------------------------------------------


def test_the_questions_are_answered_from_the_figures() -> None:
    value = report()
    figures = {"erm": (0.9, 0.4), "masktune_control": (0.9, 0.45), "masktune": (0.95, 0.8)}
    for arm, (accuracy, worst) in figures.items():
        value["metrics"]["test"][arm] |= {
            "accuracy": accuracy,
            "worst_group_accuracy": worst,
            "worst_group": "birds on water",
        }
    (shortcut, unknown), (helped, help_text), (trust, trust_text) = answers(typed(value))
    assert (shortcut, helped, trust) == (
        "Does the model rely on a shortcut?",
        "Did MaskTune help?",
        "Can I trust the new model?",
    )
    assert unknown == "This report has not looked for one."
    assert "from 40.0\u00a0% to 80.0\u00a0% (birds on water)" in help_text
    assert "the same training without masks reaches 45.0\u00a0%" in help_text
    assert "On average, it went from 90.0\u00a0% to 95.0\u00a0%." in help_text
    assert "5.0\u00a0% of the test split, and on 20.0\u00a0% of birds on water" in trust_text


def test_a_retrained_head_is_named_within_the_question() -> None:
    value = report()
    for by_arm in (value["models"], *value["metrics"].values()):
        by_arm["retrained"] = by_arm.pop("masktune")
        by_arm["retrained_control"] = by_arm.pop("masktune_control")
    (_, (question, answer), _) = answers(typed(value))
    assert question == "Did the retrained head help?"
    assert "the same head without groups reaches" in answer


def test_on_images_that_trained_the_models_neither_help_nor_trust_is_judged() -> None:
    value = report()
    value["metrics"] = {"train": value["metrics"]["test"]}
    assert [question for question, _ in answers(typed(value))] == ["Does the model rely on a shortcut?"]


SIGNS = (
    ("groups", "failure", False, "Its worst group is fine."),
    ("shift", "failure", True, "It fails on the test split."),
    ("mask", "cause", True, "Its own mask is small."),
    ("property", "cause", True, "A corner tells the class."),
)


def _reliance(evidence_name: str, count: int = len(SIGNS), **more: Any) -> ShortcutReliance:
    signs = [
        {"name": name, "kind": kind, "present": present, "n": 9, "sentence": sentence}
        for name, kind, present, sentence in SIGNS[:count]
    ]
    return ShortcutReliance.model_validate({"evidence": evidence_name, "rule": "…", "signs": signs} | more)


def test_a_shortcut_answer_says_what_each_sign_means_without_figures() -> None:
    assert shortcut_answer(_reliance("strong")) == (
        "It relies on a shortcut. It is right much less often on the test images than on the validation "
        "images. Hiding the small part of an image where it looks changes many of its answers. One simple "
        "property of the images gives their class away."
    )


def test_no_sign_of_a_shortcut_is_no_proof_of_absence() -> None:
    assert shortcut_answer(_reliance("none_seen", count=1)) == (
        "No sign of a shortcut. None of 1 checks shows one. That is no proof of absence."
    )
    why = "It is no better than a guess."
    assert shortcut_answer(_reliance("not_testable", count=1, reason=why)) == f"Not testable here. {why}"


def _trust(
    *targets: tuple[float, str, str], n_subjects: int | None = None, jointly_covered: float = 0.6
) -> str:
    """The answer about trust, of (risk, status alone, status jointly); the coverage alone is 80 %."""
    value = evidence(report())
    value["certificates"]["masktune"]["n_subjects"] = n_subjects
    first = value["certificates"]["masktune"]["targets"][0]
    value["certificates"]["masktune"]["targets"] = [
        first
        | {"max_risk": risk, "status": alone, "coverage": 0.8}
        | {"simultaneous": first["simultaneous"] | {"status": jointly, "coverage": jointly_covered}}
        for risk, alone, jointly in targets
    ]
    return answers(typed(value))[-1].answer


def test_a_certificate_without_a_threshold_is_told_as_one_for_every_image() -> None:
    text = _trust((0.05, "certified", "certified"), jointly_covered=1.0)
    assert "Even if it answers every image, at most 5\u00a0% of its answers are wrong" in text


def test_the_named_certificate_holds_jointly() -> None:
    alone, both = ("certified", "not_certifiable"), ("certified", "certified")
    text = _trust((0.01, *alone), (0.02, *both), (0.05, *both))
    assert "only the most confident 60.0\u00a0%, at most 2\u00a0% of its answers are wrong" in text
    assert "99\u00a0% confidence, whichever of the 3 risks of this report is picked" in text
    without = _trust((0.01, *alone), (0.02, *alone))
    assert "cannot promise how often it is wrong then: even for a risk of 2\u00a0%, about " in without
    assert without.endswith(" calibration samples would do.")
    assert "at most" not in without


def test_a_certificate_with_subjects_is_for_new_subjects() -> None:
    both = (0.02, "certified", "certified")
    assert _trust(both).endswith("only for inputs like those of its calibration split.")
    of_subjects = _trust(both, n_subjects=100)
    assert of_subjects.endswith("only for random images of new subjects like those of its calibration split.")


def test_a_report_from_before_certificates_held_jointly_names_none() -> None:
    value = evidence(report())
    for target in value["certificates"]["masktune"]["targets"]:
        target["simultaneous"] = None
    assert "certified with" not in answers(typed(value))[-1].answer


# --- the notes -----------------------------------------------------------------------------------


def test_the_background_gap_is_listed_for_each_model() -> None:
    counts = {"paired": True, "n_same": 9, "correct_same": 9, "n_random": 9, "correct_random": 9}
    gaps: dict[Arm, BackgroundGap] = {
        Arm.ERM: BackgroundGap.model_validate({"gap": 0.3, "low": 0.2, "high": 0.4} | counts),
        Arm.MASKTUNE: BackgroundGap.model_validate({"gap": 0.1, "low": -0.01, "high": 0.2} | counts),
    }
    text = text_notes.background_gap(gaps)
    assert text is not None
    assert "ERM +30.0 points (+20.0 to +40.0); MaskTune +10.0 points (−1.0 to +20.0)" in text
    assert text_notes.background_gap({}) is None


def test_the_saliency_shift_has_its_interval() -> None:
    section = typed(evidence(report())).saliency
    assert section is not None
    assert section.shift is not None
    text = text_notes.saliency_shift(section.shift.all, Arm.MASKTUNE)
    assert text is not None
    assert f"of MaskTune differ by {percent(section.shift.all.mean)} on average over 400 images (95" in text
    assert text_notes.saliency_shift(section.shift.all, None) is None


def test_without_a_map_there_is_a_sentence() -> None:
    value = evidence(report())
    for given in (True, False):
        for mean in value["saliency"]["mean_maps"]["erm"][given:]:
            mean["map"] = None
        saliency = typed(value).saliency
        assert saliency is not None
        assert (text_notes.no_maps(saliency) == "") is given


@pytest.mark.parametrize(
    ("side", "image_size", "enough"), [(4, 128, None), (3, 96, 128), (2, 64, 128), (1, 32, 128), (2, 36, 96)]
)
def test_maps_of_three_places_a_side_are_too_coarse(side: int, image_size: int, enough: int | None) -> None:
    value = evidence(report())
    value["models"]["erm"]["image_size"] = image_size
    for mean in value["saliency"]["mean_maps"]["erm"]:
        mean["map"] = [[0.1] * side] * side
    text = text_notes.coarse_maps(typed(value))
    assert bool(text) == (enough is not None)
    assert enough is None or (
        f"ERM divide an image into {side} × {side} places" in text
        and f"An image size of {enough} pixels, instead of {image_size}, would give at least 4 × 4." in text
    )


@pytest.mark.parametrize(("nothing_masked", "said", "first"), [(0, 0, 0), (1, 1, 0), (49, 1, 0), (50, 1, 1)])
def test_empty_masks_come_first_where_they_are_one_in_twenty(
    nothing_masked: int, said: int, first: int
) -> None:
    summary = typed(report()).masks
    assert summary is not None
    masks = summary.model_copy(update={"images": 1000, "nothing_masked": nothing_masked})
    texts = [text_notes.empty_masks(masks), text_notes.many_empty_masks(masks)]
    assert [bool(text) for text in texts] == [bool(said), bool(first)]
    assert not said or texts[0].startswith(f"{nothing_masked} of 1,000 training images have an empty mask")


def test_a_reliability_error_that_chance_explains_shows_no_fault() -> None:
    found = typed(report()).reliability["test"][Arm.ERM]
    assert found is not None
    chance = found.model_copy(update={"ece": 0.01, "ece_by_chance": 0.02, "overconfidence": 0.03})
    assert "3.0 points too sure of its answers" in text_notes.reliability(chance)
    assert "so no fault is shown" in text_notes.reliability(chance)
    fault = found.model_copy(update={"ece": 0.05, "ece_by_chance": 0.02, "non_finite": 3})
    assert "With as many samples" in text_notes.reliability(fault)
    assert text_notes.reliability(fault).startswith("3 answers that are not finite numbers are left out; ")


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (
            "plateau",
            "from 99.0\u00a0% to 57.0\u00a0%, measured on 150 validation images; larger masks",
        ),
        ("limit", "leave too little of the image, so these may not hide all that it uses"),
        ("unspecific", "2 standard deviations above the mean of its image, as in the paper: measured on 150"),
        ("too_few_images", "with 150 distinct images, the validation split is too small"),
    ],
)
def test_a_report_says_why_masks_have_their_size(reason: str, sentence: str) -> None:
    value = report()
    value["sigmas"] |= {"reason": reason, "iterations": 3 if reason == "limit" else 1}
    text = text_notes.sigmas_choice(typed(value).sigmas) or ""
    assert sentence in text
    assert ("3 times" in text) == (reason == "limit")
    assert text_notes.sigmas_choice(None) is None


def _certificates(**counts: int | None) -> Certificates:
    return typed(evidence(report())).certificates[Arm.MASKTUNE].model_copy(update={"n": 1200, **counts})


def test_copies_are_counted_only_where_there_are_some() -> None:
    assert "copies of images" not in text_notes.independence(_certificates(copies_left_out=None))
    assert "copies of images" not in text_notes.independence(_certificates(copies_left_out=0))
    assert "3 copies of images were left out" in text_notes.independence(_certificates(copies_left_out=3))


def test_a_certificate_says_what_it_assumes_and_how_many_subjects_it_counts() -> None:
    plain, mixed, whole = (_certificates(n_subjects=n, same_subject_left_out=90) for n in (None, 100, 1200))
    assert text_notes.calibration_samples(plain) == "1,200 images of the calibration split"
    assert "1,200 images of the calibration split, 100 of them one per" in text_notes.calibration_samples(
        mixed
    )
    assert text_notes.calibration_samples(whole).endswith("split, one per subject and drawn at random")
    assert "assumes that these images are independent" in text_notes.independence(plain)
    assert "a random image of a new subject" in text_notes.independence(whole)
    assert "90 other images were left out" in text_notes.independence(whole)


# --- groups --------------------------------------------------------------------------------------


def test_each_reason_for_undivided_classes_has_a_sentence() -> None:
    assert set(UNDIVIDED_REASONS) == set(get_args(GroupReason))
    for sentence in UNDIVIDED_REASONS.values():
        assert sentence.endswith("the retrained head equals its control.")
        assert "Jaccard" not in sentence


# --- subjects ------------------------------------------------------------------------------------


def of_subjects(verdict_name: str, reason: str | None = None, **difference: Any) -> Report:
    """A report with this verdict on the images of 100 subjects."""
    report_json = decided(verdict_name, n_subjects=100, **difference).model_dump(mode="json")
    report_json["verdict"]["reason"] = reason
    for metrics in report_json["metrics"]["test"].values():
        metrics["n_subjects"] = 100
    report_json["disagreement"]["test"]["n_subjects"] = 100
    return typed(report_json)


def test_a_number_of_images_is_told_with_that_of_their_subjects() -> None:
    assert sample_count(1200, 100, "image") == "1,200 images of 100 subjects"
    assert sample_count(1, 1, "image") == "1 image of 1 subject"
    assert sample_count(1200, None) == "1,200 samples"


def test_a_verdict_says_of_how_many_subjects_its_images_are_and_that_these_are_independent() -> None:
    value = of_subjects("helped", left_out=2, worst_a="gull on land", worst_b="gull at sea")
    for word in ("subject", "patient"):
        text = verdict(
            value.model_copy(update={"dataset": value.dataset.model_copy(update={"subject_word": word})})
        )
        assert f"Over all 400 test images of 100 {word}s, it is right" in text.sentence
        assert f"On 400 distinct samples of 100 {word}s of the test split" in text.figures
        assert f"among groups with at least 10 {word}s (2 have fewer)" in text.figures
        assert f"Images of one {word} are not independent, so the interval takes {word}s as" in text.rule
    plain = verdict(decided("helped", left_out=2, worst_a="gull on land", worst_b="gull at sea"))
    assert "subject" not in " ".join(plain)


def test_of_few_subjects_no_difference_can_be_told() -> None:
    text = verdict(of_subjects("not_testable", "few_subjects"))
    assert (text.tone, text.title) == ("muted", "Not testable here")
    assert "too few subjects to tell whether a difference is chance" in text.sentence
    assert "no groups say" not in text.sentence


def test_the_note_of_a_split_says_what_its_intervals_take_as_independent() -> None:
    assert "take subjects as independent, not images" in split_note(of_subjects("helped"), "test")
    assert "subjects" not in split_note(of_subjects("helped"), "val")
    assert "subjects" not in split_note(typed(report()), "test")


def test_disagreements_and_discordant_samples_are_of_subjects() -> None:
    subjects_report = of_subjects("helped")
    assert "on 40 of 400 samples of 100 subjects: " in str(
        text_notes.disagreement(subjects_report.disagreement["test"], Arm.MASKTUNE)
    )
    difference = subjects_report.differences["test"][0].model_copy(update={"n_subjects": 100})
    assert text_notes.discordant_samples(difference).startswith("400 samples of 100 subjects; only")
