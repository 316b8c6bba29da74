"""What a decision rests on, in a sentence: no bound without its confidence and what it holds for."""

from __future__ import annotations

from typing import Any

import pytest

from masktune import Answer
from masktune.cli.commands.predict import basis, table
from masktune.cli.terminal import Terminal
from tests.support.answers import ANSWER_BY_CLASS

CALIBRATION: dict[str, Any] = {
    "id": "cal_1", "n": 216, "n_answered": 200, "n_errors": 1, "coverage": 0.93, "risk_upper": 0.033
}  # fmt: skip


def said(status: str, **calibration: Any) -> str:
    selection = {
        "status": status,
        "threshold": 0.7,
        "calibration": CALIBRATION | calibration,
    }
    return basis(Answer.model_validate({"model": "mdl_2", "predictions": [], "selection": selection}))


def test_a_certificate_has_its_confidence() -> None:
    told = said("certified", risk_upper=0.05, risk_confidence=0.95)
    assert told.endswith("200 answered, 1 of them wrong, risk at most 0.050 with 95 % confidence")


@pytest.mark.parametrize("status", ["target_coverage", "raw_threshold"])
def test_a_bound_that_was_not_asked_for_holds_for_its_threshold_alone(status: str) -> None:
    told = said(status, risk_confidence=0.99)
    assert (
        "risk at most 0.033 with 99 % confidence, for this threshold alone if chosen before looking" in told
    )


def test_a_decision_says_how_many_subjects_it_rests_on() -> None:
    assert "on 216 calibration samples: 200 answered" in said("certified", risk_confidence=0.95)
    sentence = said("certified", risk_confidence=0.95, n_subjects=200)
    assert "on 216 calibration samples (200 subjects, one image of each): 200 answered" in sentence


def test_an_answer_begins_with_a_warning_once_drift_is_found() -> None:
    for status in ("drifted", "no_sign_of_drift", "too_few"):
        drift = {"status": status, "found_at": "2025-11-03T09:30:00.000Z"}
        selection = {"status": "certified", "threshold": 0.7, "drift": drift}
        answer = Answer.model_validate({"model": "mdl_2", "predictions": [], "selection": selection})
        terminal = Terminal(width=200)
        with terminal.capture() as printed:
            terminal.print(table(answer, []))
        warning = "The inputs of this model differ from its calibration split, found on 3 Nov 2025, "
        assert printed.get().startswith(warning) == (status == "drifted")


def test_a_certificate_of_a_broken_promise_says_so() -> None:
    promise = {"status": "broken", "answers": 257, "errors": 73, "max_risk": 0.05, "risk_confidence": 0.99}
    certified = CALIBRATION | {"risk_upper": 0.05, "risk_confidence": 0.99}
    selection = {"status": "certified", "threshold": 0.7, "calibration": certified, "promise": promise}
    answer = Answer.model_validate({"model": "mdl_2", "predictions": [], "selection": selection})
    terminal = Terminal(width=200)
    with terminal.capture() as printed:
        terminal.print(table(answer, []))
    assert printed.get().startswith("The promise that at most 5\u00a0% of the answers are wrong is broken")
    assert basis(answer).endswith("; but the model's promise is broken: see above")


def test_without_a_confidence_or_an_answer_there_is_no_bound() -> None:
    for told in (said("target_coverage"), said("not_certifiable", n_answered=0, risk_confidence=0.99)):
        assert "risk at most" not in told
    assert "this model is wrong too often; these certify no risk" in said("not_certifiable")


def printed_by_class() -> str:
    terminal = Terminal(width=200)
    with terminal.capture() as printed:
        terminal.print(table(Answer.model_validate(ANSWER_BY_CLASS), ["1.png", "2.png"]))
    return printed.get()


def test_promises_by_class_are_a_table_with_what_they_take() -> None:
    lines = [" ".join(line.split()) for line in printed_by_class().splitlines()]
    assert "answers “a” that are wrong 10 % certified 0.600 120 2" in lines
    assert "answers “b” that are wrong 10 % too few – 12 0 1031" in lines
    assert "“b” answered as another class 10 % too few – 50 0 no number" in lines
    assert any(
        line.startswith(
            "certified in part, a threshold for each class; on 216 calibration samples: 200 answered"
        )
        for line in lines
    )


def test_label_sets_are_a_column_and_a_sentence() -> None:
    text = printed_by_class()
    assert "may be" in text.splitlines()[1]
    assert "a or b" in text
    assert "none of the classes" in text
    assert "at least 90\u00a0% of the inputs of each class" in text
    assert "for “a”, with 20 calibration samples, that share may be as low as 78.4\u00a0%" in text
    assert "an input of no trained class gets a set all the same" in text


def test_without_a_bound_none_is_told() -> None:
    """Of `max_missed` alone, no share of the answers is promised to be wrong."""
    assert "risk at most" not in said("certified", risk_upper=1.0, risk_confidence=0.99)
