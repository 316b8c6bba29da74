"""The sentences of a report follow from its figures, and nothing is said that these do not show.

What they say is in `tests/golden_texts`.
"""

from __future__ import annotations

import shlex
from typing import Any, get_args

import pytest

from masktune.contract.report import Report
from masktune.contract.report.base import Proportion, StatisticName
from masktune.contract.report.groups import GroupReason
from masktune.contract.report.shortcut import MOST_ROWS, Evidence, PropertyCheck, SignName
from masktune.contract.report.text import next_steps, notes, percent, points, verdict, whole_percent
from masktune.contract.report.text.answers import EVIDENCE, answers
from masktune.contract.report.text.formats import (
    first_names,
    more_of_100,
    out_of_100,
    points_apart,
    points_interval,
    right_counts,
    sample_count,
)
from masktune.contract.report.text.groups import UNDIVIDED, UNDIVIDED_REASONS
from masktune.contract.report.text.inferred import (
    inferred_notes,
    lacking_sentence,
    mix_sentence,
)
from masktune.contract.report.text.metadata import metadata_sentences
from masktune.contract.report.text.names import (
    ARM_DESCRIPTIONS,
    ARM_NAMES,
    SIGN_NAMES,
    STATISTICS,
    in_order,
    says_nothing_of_quality,
    verdict_title,
)
from masktune.contract.report.text.next_steps import recommendation_reason
from masktune.contract.vocabulary import Arm
from models.data.splits import ALL_SPLITS, WITHOUT_OBJECT
from tests.golden_texts.reports import NAMES, golden_report
from tests.golden_texts.sections import inferred_section, judged_sections, part
from tests.support.reports import evidence, report

# --- figures -------------------------------------------------------------------------------------


def test_a_difference_is_more_or_fewer_of_a_hundred() -> None:
    texts = [more_of_100(difference) for difference in (0.15, -0.15, 0.004, 0.0)]
    assert texts == ["15 more of 100", "15 fewer of 100", "0.4 more of 100", "0 more of 100"]


def test_differences_are_percentage_points_and_shares_percent() -> None:
    assert (points(0.123), points(-0.04)) == ("+12.3", "−4.0")
    assert points_interval(-0.02, 0.2) == "−2.0 to +20.0"
    texts = [points_apart(difference) for difference in (0.05, -0.05, 0.0001)]
    assert texts == ["5.0 points above", "5.0 points below", "level with"]
    assert (percent(0.762), percent(None), whole_percent(0.05)) == ("76.2\u00a0%", "–", "5\u00a0%")


@pytest.mark.parametrize(
    ("a", "b", "counts"),
    [(0.904, 0.74, ("90", "74")), (0.95, 0.954, ("95.0", "95.4")), (0.95, 0.95, ("95", "95"))],
)
def test_counts_have_a_decimal_only_where_it_tells_them_apart(
    a: float, b: float, counts: tuple[str, str]
) -> None:
    assert out_of_100(a, b) == counts


def test_a_hundred_of_a_hundred_is_all() -> None:
    assert out_of_100(0.9951, 0.5) == ("99", "50")
    assert out_of_100(0.9996, 0.985) == ("99", "98")
    assert out_of_100(0.9996, 0.99) == ("99.9", "99.0")
    assert out_of_100(1.0 - 1e-12, 0.9951) == ("100", "99")


def test_fewer_than_a_hundred_images_are_counted() -> None:
    of_4, of_5, of_400 = (
        Proportion(n=n, correct=k, accuracy=k / n, low=0, high=1) for n, k in ((4, 3), (5, 2), (400, 300))
    )
    assert right_counts(of_4, of_4, of_5) == ["3 of 4", "3", "2 of 5"]
    assert right_counts(of_400, of_400) == ["75 of 100", "75"]
    assert right_counts(of_400, of_4) == ["300 of 400", "3 of 4"]


def test_samples_are_counted_with_their_subjects_and_the_first_names_are_listed() -> None:
    assert sample_count(1200, 100, "image") == "1,200 images of 100 subjects"
    assert sample_count(1, 1, "image") == "1 image of 1 subject"
    assert sample_count(1200, None) == "1,200 samples"
    assert first_names(["a", "b"]) == "a, b"
    assert first_names(list("abcdefg")) == "a, b, c, d, e and 2 more"


# --- names ---------------------------------------------------------------------------------------


def test_everything_that_a_report_can_name_has_a_name() -> None:
    assert set(ARM_NAMES) == set(ARM_DESCRIPTIONS) == set(Arm)
    assert set(STATISTICS) == set(get_args(StatisticName))
    assert set(SIGN_NAMES) == set(get_args(SignName))
    assert set(EVIDENCE) == set(get_args(Evidence))
    assert set(UNDIVIDED_REASONS) == set(get_args(GroupReason))


def test_models_stand_in_reading_order_and_unknown_ones_last() -> None:
    in_any_order = ["new", "masktune", "masktune_control", "erm"]
    assert in_order(in_any_order) == ["erm", "masktune_control", "masktune", "new"]


def test_figures_on_training_images_and_on_splits_without_an_object_say_nothing_of_quality() -> None:
    assert {split for split in ALL_SPLITS if says_nothing_of_quality(split)} == {"train", *WITHOUT_OBJECT}


# --- what is not said ----------------------------------------------------------------------------


def typed(**sections: Any) -> Report:
    return Report.model_validate(report() | sections)


def test_nothing_is_said_of_what_was_not_measured() -> None:
    plain = typed()
    sentences = (recommendation_reason, lacking_sentence, mix_sentence, notes.coarse_maps)
    assert [sentence_of(plain) for sentence_of in sentences] == [""] * 4
    lists = next_steps(plain), inferred_notes(plain), metadata_sentences(plain), answers(typed(metrics={}))
    assert not any(lists)
    absent = notes.masks(None), notes.many_empty_masks(None), notes.sigmas_choice(None)
    assert not any((*absent, notes.disagreement(None, Arm.ERM)))
    for decide in (True, False):  # the inferred groups, of which the test split has no figures
        assert verdict(typed(**inferred_section("opened", decide=decide))) == verdict(plain)


def test_images_that_judge_a_head_where_no_class_was_divided_give_no_verdict_and_say_why() -> None:
    sections = judged_sections("undecided", Arm.ERM) | {"after": "retrained", "verdict": None}
    assert verdict(typed(**sections)).sentence == UNDIVIDED


@pytest.mark.parametrize("n", [1, 9, 10])
def test_on_fewer_than_ten_images_that_lack_the_pattern_nothing_is_said(n: int) -> None:
    test = {"n": n, "lacking": part(n, erm=0, masktune=1, masktune_control=0), "rest": part(0)}
    lacking = lacking_sentence(typed(**inferred_section("opened", decide=True, splits={"test": test})))
    assert bool(lacking) == (n == 10)


@pytest.mark.parametrize("n", [1, 4, 9, 10])
def test_fewer_than_ten_images_of_the_rest_are_left_out(n: int) -> None:
    lacking, rest = (part(of, erm=0, masktune=1, masktune_control=0) for of in (98, n))
    test = {"n": 98 + n, "lacking": lacking, "rest": rest}
    sentence = lacking_sentence(typed(**inferred_section("opened", decide=True, splits={"test": test})))
    assert ("others" in sentence.partition(";")[2]) == (n == 10)


def test_a_verdict_on_subjects_that_the_models_know_is_not_green() -> None:
    value = report()
    assert verdict(Report.model_validate(value)).tone == "good"
    value["dataset"] |= {"shared_subjects": {"test": {"train": 12}}, "split_subjects": {"test": 40}}
    assert verdict(Report.model_validate(value)).tone == "neutral"


def test_a_verdict_on_a_model_that_hurt_by_a_column_is_not_green_and_says_so() -> None:
    golden = golden_report("inferred_groups")
    decision, reason = verdict(golden), recommendation_reason(golden)
    assert (decision.tone, verdict(golden, Arm.MASKTUNE).tone) == ("neutral", "neutral")
    assert decision.title.endswith("helped, by inferred groups, but hurt in groups by “clinic site”")
    assert "show that this helped. But it hurt in groups by “clinic site”." in reason
    assert "By the column “clinic site”, the worst group" in decision.sentence
    assert golden.verdict is not None
    beaten = golden.verdict.model_copy(update={"beaten_by": Arm.ERM})
    tone, title = verdict_title(beaten)
    assert tone == "neutral"
    assert title.endswith("but worse than the ERM model, and hurt in groups by “clinic site”")
    plain = typed()
    assert "column" not in verdict(plain).sentence + verdict(plain).rule


# --- the check of properties ---------------------------------------------------------------------


def test_a_table_of_properties_has_columns_of_metadata_first_each_part_by_accuracy() -> None:
    check = evidence(report())["properties"]
    (first, *_), columns = check["findings"], check["metadata"]["findings"]
    weaker = [
        first | {"property": f"{n}", "balanced_accuracy": n / 100} for n in range(50, 50 + 2 * MOST_ROWS)
    ]
    of_metadata = [columns[0] | {"property": f"column {n}", "balanced_accuracy": n / 100} for n in (60, 70)]
    some = check | {"findings": weaker, "metadata": check["metadata"] | {"findings": of_metadata}}
    rows = [row.property for row in PropertyCheck.model_validate(some).rows]
    assert rows == ["column 70", "column 60", *(f"{n}" for n in range(49 + MOST_ROWS, 49, -1))]
    without = PropertyCheck.model_validate(some | {"metadata": None}).rows
    assert [row.property for row in without] == rows[2:]


# --- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_step_is_a_title_and_a_sentence(name: str) -> None:
    golden = golden_report(name)
    listed = golden.recommendation.next if golden.recommendation else []
    steps = next_steps(golden)
    assert [step.name for step in steps] == [step.step for step in listed]
    assert all(step.title and step.sentence.endswith(".") for step in steps)


def test_a_command_is_what_a_shell_reads() -> None:
    commands = [shlex.split(step.command) for name in NAMES for step in next_steps(golden_report(name))]
    assert {command[0] for command in commands if command} == {"masktune"}
    assert {"meta:clinic site", "meta:clinic site=St. Mary's $(x)"} <= set().union(*commands)


# --- where a note begins -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "image_size", "enough"), [(4, 128, None), (3, 96, 128), (2, 64, 128), (1, 32, 128), (2, 36, 96)]
)
def test_maps_of_three_places_a_side_are_too_coarse(side: int, image_size: int, enough: int | None) -> None:
    value = evidence(report())
    value["models"]["erm"]["image_size"] = image_size
    for mean in value["saliency"]["mean_maps"]["erm"]:
        mean["map"] = [[0.1] * side] * side
    text = notes.coarse_maps(Report.model_validate(value))
    assert bool(text) == (enough is not None)
    assert enough is None or f"An image size of {enough} pixels, instead of {image_size}," in text


@pytest.mark.parametrize(
    ("count", "is_noted", "is_first"), [(0, False, False), (49, True, False), (50, True, True)]
)
def test_empty_masks_come_first_where_they_are_one_in_twenty(
    count: int, is_noted: bool, is_first: bool
) -> None:
    summary = typed().masks
    assert summary is not None
    masks = summary.model_copy(update={"images": 1000, "nothing_masked": count})
    texts = notes.empty_masks(masks), notes.many_empty_masks(masks)
    assert [bool(text) for text in texts] == [is_noted, is_first]
