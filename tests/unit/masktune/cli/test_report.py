"""The report on a terminal names what was compared."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.cli.report import comparison, verdict
from masktune.cli.terminal import Terminal

DECIDING = {
    "statistic": "worst_group_accuracy",
    "estimate": 0.1,
    "low": 0.05,
    "high": 0.15,
    "confidence": 0.95,
}
TOLD: dict[str, Any] = {"verdict": "helped", "b": "control", "deciding": DECIDING}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (TOLD, "MaskTune helped. Against the control, the worst group"),
        (TOLD | {"a": "retrained"}, "The retrained head helped. Against the control, the worst group"),
        (TOLD | {"a": "retrained", "verdict": "hurt", "b": "erm"}, "The retrained head hurt. Against plain"),
    ],
)
def test_the_verdict_names_the_judged_model(told: dict[str, Any], said: str) -> None:
    assert verdict({"verdict": told}).startswith(said)
    assert ("No control was trained" in verdict({"verdict": told})) == (told["b"] == "erm")


def test_the_control_of_a_retrained_head_is_not_a_training() -> None:
    figures = {"n": 5, "accuracy": 0.8, "low": 0.4, "high": 0.9, "groups": []}
    heads = comparison({"metrics": {"test": {"control": figures, "retrained": figures}}})
    assert [str(column.header) for column in heads.columns][1:] == [
        "control: last layer without groups",
        "after: last layer retrained",
    ]
    masked = comparison({"metrics": {"test": {"control": figures, "masktune": figures}}})
    assert str(masked.columns[1].header) == "control: continued, no masks"


def test_a_narrow_terminal_cuts_no_figure() -> None:
    figures = {"n": 5, "accuracy": 0.812, "low": 0.434, "high": 0.987, "groups": []}
    arms = ("erm", "control", "masktune")
    console = Terminal(width=60)
    with console.capture() as seen:
        console.print(comparison({"metrics": {"test": dict.fromkeys(arms, figures)}}))
    assert "…" not in seen.get()
    assert seen.get().count("(0.434–") == len(arms)
