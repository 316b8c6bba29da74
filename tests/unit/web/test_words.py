"""Figures and sentences, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from web import words

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (1500, "25 min"),
        (7500, "2 h 5 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations_in_the_units_that_tell(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("before", "said"), [(5, "just now"), (61, "1 minute ago"), (7300, "2 hours ago"), (90_000, "1 day ago")]
)
def test_how_long_ago(before: int, said: str) -> None:
    assert words.ago(NOW - timedelta(seconds=before), NOW) == said


def test_what_is_not_known_is_a_dash() -> None:
    assert [words.percent(None), words.number(None), words.duration(None), words.ago(None)] == ["–"] * 4


def test_signed_points_and_shares() -> None:
    assert words.points(-0.0123) == "−1.2"
    assert words.points(0.5) == "+50.0"
    assert words.percent(0.9999, 1) == "100.0\u00a0%"


def test_arms_stand_before_first_and_strangers_last() -> None:
    assert words.arms_in_order({"new": 1, "masktune": 1, "erm": 1}) == ["erm", "masktune", "new"]


def _figures(accuracy: float, worst: float, control: bool = True) -> dict[str, Any]:
    return {"accuracy": accuracy, "worst_group_accuracy": worst, "worst_group": "birds on water"}


def test_the_questions_are_answered_from_the_figures() -> None:
    by_arm = {"erm": _figures(0.9, 0.4), "control": _figures(0.9, 0.45), "masktune": _figures(0.95, 0.8)}
    (lean, lean_says), (helped, helped_says), (trust, trust_says) = words.answers(by_arm, "masktune")
    assert (lean, helped, trust) == (
        "Does the model lean on a shortcut?",
        "Did MaskTune help?",
        "May I trust the new one?",
    )
    assert lean_says.startswith("There are signs of it")
    assert "40.0\u00a0%" in lean_says
    assert "from 40.0\u00a0% to 80.0\u00a0%" in helped_says
    assert "no masks: 45.0\u00a0%" in helped_says
    assert "20.0\u00a0% in birds on water" in trust_says


def test_even_figures_show_no_sign() -> None:
    ((_, says),) = words.answers({"erm": _figures(0.9, 0.88)}, "masktune")
    assert says.startswith("These figures show no sign of it")


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
    said = words.verdict({"verdict": found})
    assert said[:2] == (tone, title)
    assert "+10.0 points against Control" in said[2]
    assert "−2.0 to +20.0" in said[2]


def test_a_verdict_without_a_control_says_so() -> None:
    deciding = {"statistic": "balanced_accuracy", "estimate": 0.1, "low": 0.05, "high": 0.15}
    found = {"verdict": "helped", "split": "test", "a": "masktune", "b": "erm", "deciding": deciding}
    _, title, sentence = words.verdict({"verdict": found})
    assert title == "MaskTune helped, without a control"
    assert "no control was trained" in sentence


def test_without_a_second_model_there_is_no_verdict() -> None:
    assert words.verdict({"verdict": None})[1] == "No comparison"


def test_every_stage_of_every_kind_has_words() -> None:
    assert {stage for stages in words.STAGES_OF.values() for stage in stages} <= words.STAGES.keys()
    assert words.STAGES_OF.keys() == words.KINDS.keys()


@pytest.mark.parametrize(
    ("kind", "params", "said"),
    [
        ("mask", {"masking": {"method": "xgradcam", "sigmas": 2.0}}, "masks all above mean + 2 deviations."),
        ("mask", {"masking": {"method": "random", "share": 0.1}}, "masks the 10\u00a0% that count most."),
        ("predict", {"split": "test", "output": "csv"}, "as csv; always answer."),
        ("predict", {"split": "val", "output": "csv", "max_risk": 0.05}, "wrong answers below: 5.0\u00a0%."),
        ("erm", {"epochs": 3}, ""),
    ],
)
def test_what_a_job_was_asked_for(kind: str, params: dict[str, object], said: str) -> None:
    assert words.asked(kind, params).endswith(said)
