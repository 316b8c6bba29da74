"""The sentences of groups that nobody labelled."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.report import Report
from masktune.contract.report.text import next_steps, verdict
from masktune.contract.report.text.inferred import (
    held_out_sentence,
    inferred_notes,
    lacking_sentence,
    mix_sentence,
)
from tests.support.reports import report

Json = dict[str, Any]


def proportion(correct: int, n: int) -> Json:
    share = correct / max(n, 1)
    return {"n": n, "correct": correct, "accuracy": share, "low": share, "high": share}


def inferred(**changes: Any) -> Json:
    """98 test images that lack the pattern, on which ERM is right 66 times and MaskTune 87 times."""
    parts = {
        "lacking": {"n": 98, "accuracies": {"erm": proportion(66, 98), "masktune": proportion(87, 98)}},
        "rest": {"n": 100, "accuracies": {"erm": proportion(99, 100), "masktune": proportion(95, 100)}},
    }
    points = [{"share": share, "accuracy": 1 - share / 5, "low": 0.5, "high": 1.0} for share in (0.05, 0.5)]
    test = {"n": 198, "mix": {"masktune": points}} | parts
    section = {"decide": True, "model": "mdl_1", "stage": "layer3", "reason": "stages_agree"}
    return section | {"splits": {"test": test}} | changes


def typed(section: Json | None, **decision: Any) -> Report:
    value = report()
    value["inferred_groups"] = section
    value["verdict"] |= decision
    return Report.model_validate(value)


def test_the_first_sentence_says_what_the_images_that_lack_the_pattern_show() -> None:
    sentence = (
        "On the 98 images that lack what the others of their class share, plain training is right on 67 of "
        "100, MaskTune on 89; on the rest on 99 and 95."
    )
    typed_report = typed(inferred(), inferred=True)
    assert lacking_sentence(typed_report) == sentence
    assert verdict(typed_report).sentence.startswith(sentence)


def test_held_out_training_images_are_told_of_apart_and_are_no_verdict() -> None:
    parts = {
        "lacking": {"n": 48, "accuracies": {"erm": proportion(32, 48), "retrained": proportion(43, 48)}},
        "rest": {"n": 100, "accuracies": {"erm": proportion(99, 100), "retrained": proportion(95, 100)}},
    }
    typed_report = typed(inferred(held_out={"n": 148} | parts), verdict="not_testable", reason="few_lacking")
    subjects = typed_report.dataset.model_copy(update={"split_subjects": {"train": 90}})
    sentence = (
        "Held out of training: on the 48 training images that lack what the others of their class share, "
        "plain training is right on 67 of 100, the retrained head on 90; on the rest on 99 and 95. Every "
        "part was fitted anew without the images that it was asked about. This is no verdict."
    )
    assert held_out_sentence(typed_report.model_copy(update={"dataset": subjects})) == sentence
    assert "too high, unless subjects are named. This is no verdict." in held_out_sentence(typed_report)
    assert "Held out" not in verdict(typed_report).sentence + verdict(typed_report).rule + lacking_sentence(
        typed_report
    )
    nobody = {"n": 0, "accuracies": {}}
    assert held_out_sentence(typed(inferred(held_out={"n": 100, "lacking": nobody, "rest": nobody}))) == ""
    assert held_out_sentence(typed(inferred())) == held_out_sentence(typed(None)) == ""


@pytest.mark.parametrize("section", [None, inferred(decide=False), inferred(splits={})])
def test_it_says_nothing_where_nothing_rests_on_the_groups(section: Json | None) -> None:
    typed_report = typed(section)
    assert lacking_sentence(typed_report) == ""
    assert "lack what the others" not in verdict(typed_report).sentence


def test_the_title_and_the_rule_say_that_the_groups_were_inferred() -> None:
    typed_report = verdict(typed(inferred(), verdict="helped", inferred=True))
    assert typed_report.title == "MaskTune helped, by inferred groups"
    assert "does not cover that they may be wrong" in typed_report.rule
    labelled = verdict(typed(None, verdict="helped"))
    assert labelled.title == "MaskTune helped"
    assert "inferred" not in labelled.rule


def test_too_few_images_without_the_pattern_are_named_as_the_reason() -> None:
    typed_report = verdict(typed(inferred(), verdict="not_testable", reason="few_lacking"))
    assert "of no class do 10 images here lack the pattern" in typed_report.sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "verdict, rest on this guess"),
        ({"decide": False, "reason": "opened"}, "nobody has confirmed it"),
        ({"decide": False, "reason": "wrong_labels"}, "have a wrong label"),
        (
            {"decide": False, "comparison": {"erm": {"inferred": 0.4, "labelled": 0.5}}},
            "The worst group of the ERM model on test is right on 50.0\u00a0% by them, and on 40.0\u00a0%",
        ),
    ],
)
def test_what_rests_on_the_guess(changes: Json, said: str) -> None:
    notes = inferred_notes(typed(inferred(**changes)))
    assert notes[0].startswith("A guess: nobody labelled these groups. At layer3")
    assert said in " ".join(notes)


def test_what_a_person_said_bounds_the_figure() -> None:
    precision = {"answers": 25, "lacking": 24, "low": 0.8, "at_bound": {"masktune": 0.85}}
    notes = " ".join(inferred_notes(typed(inferred(precision=precision))))
    assert "Of 25 images that were drawn at random" in notes
    assert "24 do, as a person said: so at least 80.0\u00a0%" in notes
    assert "the MaskTune model would be right on 85.0\u00a0% of the test images that truly lack it" in notes


def test_labels_that_look_wrong_are_counted_by_split_and_a_step() -> None:
    counted = {"labels_look_wrong": {"train": 35, "test": 6}, "wrong_labels": [3, 1]}
    value = report()
    value["inferred_groups"] = inferred(**counted)
    steps = [{"step": "check_labels", "samples": [3, 1], "n": 41}]
    value["recommendation"] = {
        "arm": "masktune",
        "model": "mdl_1",
        "reason": "masktune_helped",
        "next": steps,
    }
    typed_report = Report.model_validate(value)
    assert "41 labels look wrong (35 of train, 6 of test)" in " ".join(inferred_notes(typed_report))
    (step,) = next_steps(typed_report)
    assert step.title == "Check 41 labels"
    assert step.command.endswith("--label-looks-wrong")
    assert "look wrong" not in " ".join(inferred_notes(typed(inferred())))


def test_another_mix_is_an_estimate() -> None:
    sentence = mix_sentence(typed(inferred()))
    assert "At 50.0\u00a0%, MaskTune would be right on 90.0\u00a0% (50.0\u00a0% to 100.0\u00a0%)" in sentence
    assert "no certificate" in sentence
    assert mix_sentence(typed(None)) == ""
