"""What the page of a report says of its figures."""

from __future__ import annotations

from typing import Any

import pytest

from web.text import report as report_words


def _figures(accuracy: float, worst: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "worst_group_accuracy": worst, "worst_group": "birds on water"}


def test_the_questions_are_answered_from_the_figures() -> None:
    by_arm = {"erm": _figures(0.9, 0.4), "control": _figures(0.9, 0.45), "masktune": _figures(0.95, 0.8)}
    (helped, helped_says), (trust, trust_says) = report_words.answers(by_arm, "masktune", "test")
    assert (helped, trust) == ("Did MaskTune help?", "Can I trust the new model?")
    assert "from 40.0\u00a0% to 80.0\u00a0%" in helped_says
    assert "the same training without masks reaches 45.0\u00a0%" in helped_says
    assert "5.0\u00a0% of the test split, and on 20.0\u00a0% of birds on water" in trust_says


def test_figures_alone_say_nothing_of_a_shortcut() -> None:
    """The report's own reading does, by its written rule."""
    assert report_words.answers({"erm": _figures(0.9, 0.4)}, "masktune", "test") == []


@pytest.mark.parametrize(
    ("verdict", "tone", "title"),
    [
        ("helped", "good", "MaskTune helped"),
        ("hurt", "bad", "MaskTune hurt"),
        ("no_detectable_effect", "unsure", "No detectable effect"),
    ],
)
def test_a_verdict_names_the_difference_that_decided(verdict: str, tone: str, title: str) -> None:
    deciding = {"statistic": "worst_group_accuracy", "estimate": 0.1, "low": -0.02, "high": 0.2}
    found = {"verdict": verdict, "split": "test", "a": "masktune", "b": "control", "deciding": deciding}
    said = report_words.verdict({"verdict": found})
    assert (said.tone, said.title) == (tone, title)
    assert "+10.0 points from that of the control" in said.sentence
    assert "−2.0 to +20.0" in said.sentence
    assert said.next
    assert "chosen beforehand, decides: that in worst-group accuracy" in said.rule


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        ("helped", "MaskTune is better than ERM"),
        ("hurt", "MaskTune is worse than ERM"),
        ("no_detectable_effect", "No detectable effect"),
    ],
)
def test_without_a_control_it_is_not_said_what_helped(verdict: str, title: str) -> None:
    deciding = {"statistic": "balanced_accuracy", "estimate": 0.1, "low": 0.05, "high": 0.15}
    found = {"verdict": verdict, "split": "test", "a": "masktune", "b": "erm", "deciding": deciding}
    said = report_words.verdict({"verdict": found})
    assert said.title == title
    assert "No control was trained" in said.sentence
    assert "There is no control" in said.rule


def test_a_verdict_says_which_groups_it_is_about() -> None:
    deciding = {"statistic": "worst_group_accuracy", "estimate": 0.1, "low": 0.05, "high": 0.15}
    deciding |= {"worst_a": "gull on land", "worst_b": "gull at sea", "left_out": 2}
    found = {"verdict": "helped", "split": "test", "a": "masktune", "b": "control", "deciding": deciding}
    said = report_words.verdict({"verdict": found}).sentence
    assert "its lowest is gull on land, that of the control is gull at sea" in said
    assert "(2 have fewer)" in said


def test_without_a_second_model_there_is_no_verdict() -> None:
    said = report_words.verdict({"verdict": None})
    assert said.title == "No comparison"
    assert "A masktune job" in said.next


def _wish(risk: float, status: str, together: str) -> dict[str, Any]:
    beside = {"status": together, "coverage": 0.75}
    return {"max_risk": risk, "status": status, "coverage": 0.8, "together": beside}


def _trust(*wishes: dict[str, Any]) -> str:
    certified = {"confidence": 0.99, "wishes": list(wishes)}
    found = report_words.answers({"masktune": _figures(0.95, 0.8)}, "masktune", "test", None, certified)
    return dict(found)["Can I trust the new model?"]


def test_the_certificate_that_is_told_is_one_that_holds_with_the_others() -> None:
    said = _trust(_wish(0.01, "certified", "not_certifiable"), _wish(0.02, "certified", "certified"))
    assert "answers only the most confident 75.0\u00a0%, at most 2\u00a0% of its answers are wrong" in said
    assert "certified with 99\u00a0% confidence" in said


def test_without_a_certificate_none_is_claimed() -> None:
    said = _trust(_wish(0.01, "not_certifiable", "not_certifiable"))
    assert "no certificate that may be picked after looking" in said
    assert "at most" not in said


def test_the_background_gap_is_told_for_each_model() -> None:
    gaps = {"erm": {"gap": 0.3, "low": 0.2, "high": 0.4}, "masktune": {"gap": 0.1, "low": -0.01, "high": 0.2}}
    said = report_words.background_gap(gaps)
    assert "ERM +30.0 points (+20.0 … +40.0); MaskTune +10.0 points (−1.0 … +20.0)" in said
    assert report_words.background_gap({}) == ""


def test_a_retrained_head_is_named_within_the_question() -> None:
    by_arm = {"erm": _figures(0.9, 0.4), "retrained": _figures(0.9, 0.6)}
    assert "Did the retrained head help?" in dict(report_words.answers(by_arm, "retrained", "test"))
