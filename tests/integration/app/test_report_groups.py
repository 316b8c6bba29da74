"""The page of a retrained head: guessed groups are marked, its words are those of its own comparison."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from app.reports.figures import group
from masktune.contract.hyperparameters import GroupSource
from masktune.contract.report import Report
from masktune.contract.report.text.glossary import glossary
from masktune.contract.report.text.groups import groups_note
from masktune.contract.vocabulary import Arm
from models.statistics import wilson
from tests.integration.app.test_report_page import _html, _read
from tests.support.reports import report

EARLY: dict[str, Any] = {
    "reason": "stages_agree",
    "stage": "blocks.4.2",
    "agreements": [
        {
            "shallow": "blocks.2.1",
            "deep": "blocks.4.2",
            "flagged_shallow": 131,
            "flagged_deep": 110,
            "jaccard": 0.84,
            "required": 0.5,
        }
    ],
    "judge_penalty": 0.1,
    "flagged": [60, 100, 110],
}
RIGHT: dict[Arm, tuple[float, ...]] = {
    Arm.ERM: (0.2, 0.99, 0.99, 0.25),
    Arm.MASKTUNE_CONTROL: (0.25, 0.99, 0.98, 0.3),
    Arm.MASKTUNE: (0.9,) * 4,
}


def accuracies(correct: int, n: int) -> dict[str, Any]:
    low, high = wilson(correct, n)
    return {"n": n, "correct": correct, "accuracy": correct / n, "low": low, "high": high}


def part(name: str, *, inferred: bool, n: int, right: int) -> dict[str, Any]:
    return {
        "name": name,
        "inferred": inferred,
        "n": n,
        "share": n / 1010,
        "accuracies": {
            "erm": accuracies(right, n),
            "retrained_control": accuracies(1, n),
            "retrained": accuracies(n, n),
        },
        "true_groups": {"5-9 <with> square": n},
        "examples": [{"sample": 7, "path": "<b>7</b>.png", "image": "group-7.png"}],
    }


def retrained_report(source: str) -> dict[str, Any]:
    """What the evaluation of a `retrain_head` job writes."""
    value: dict[str, Any] = json.loads(json.dumps(report(right=RIGHT)))
    for place in (value["models"], *value["metrics"].values(), *value["reliability"].values()):
        place["retrained"] = place.pop("masktune")
        place["retrained_control"] = place.pop("masktune_control")
    for difference in value["differences"]["test"]:
        difference["a"] = "retrained"
        difference["b"] = difference["b"].replace("masktune_control", "retrained_control")
    value["verdict"] |= {"a": "retrained", "b": "retrained_control"}
    inferred = source != "labels"
    value["groups"] = {
        "source": source,
        "inferred": inferred,
        "divided": True,
        "split": "train",
        "n": 1010,
        "details": EARLY if source == "early_stages" else {},
        "penalty": 1.0,
        "control_penalty": 3.0,
        "held_out": {"erm": False, "retrained_control": True, "retrained": True},
        "slices": [
            part("5-9 · judged right", inferred=inferred, n=900, right=890),
            part("5-9 · judged wrong", inferred=inferred, n=110, right=8),
        ],
    }
    return value | {"kind": "retrain_head", "masks": None}


@pytest.mark.parametrize("source", get_args(GroupSource))
def test_groups_that_nobody_labelled_are_marked_as_inferred(source: str) -> None:
    html = _html(retrained_report(source))
    text = _read(html).text
    assert ("inferred: nobody labelled them" in text) == (source != "labels")
    assert html.count('<span class="tag">inferred</span>') == (0 if source == "labels" else 2)
    assert "5-9 · judged wrong" in text
    assert html.count("base64,group-7.png") == 2
    assert "&lt;b&gt;7&lt;/b&gt;.png" in html
    assert ("110 of “5-9 <with> square”" in text) == (source != "labels")


def test_every_model_stands_at_every_group_with_its_interval() -> None:
    told = Report.model_validate(retrained_report("cross_mistakes"))
    assert told.groups is not None
    rows = [group(one) for one in told.groups.slices]
    for row in rows:
        assert [figure.arm for figure in row.figures] == ["erm", "retrained_control", "retrained"]
        assert all(f.low is not None and f.low <= f.share for f in row.figures)
    assert rows[1].figures[0].share == 8 / 110
    assert "ERM was trained on all of them" in groups_note(told.groups)


def test_other_reports_have_no_such_section() -> None:
    text = _read(_html(report())).text
    assert "inferred: nobody labelled them" not in text
    assert "without masks" in dict(glossary(Report.model_validate(report())))["Control"]
