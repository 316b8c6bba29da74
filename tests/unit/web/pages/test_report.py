"""The tables of a report's page, from the figures of one split."""

from __future__ import annotations

import re
from typing import Any

from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmMetrics
from masktune.contract.report.text.names import says_nothing_of_quality
from masktune.contract.vocabulary import Arm
from tests.support.reports import report
from web.pages.report import MOST_GROUPS, tables
from web.shell import render


def _figures(*accuracies: float) -> ArmMetrics:
    """The figures of a report with these accuracies of its classes, and no groups."""
    figures = Report.model_validate(report(groups=False)).metrics["test"][Arm.ERM]
    of_class = figures.classes[0]
    classes = [
        of_class.model_copy(update={"id": number, "name": f"class {number}", "accuracy": accuracy})
        for number, accuracy in enumerate(accuracies)
    ]
    intervals = {"balanced_accuracy_low": 0.111, "balanced_accuracy_high": 0.999}
    intervals |= {"worst_class_accuracy_low": 0.022, "worst_class_accuracy_high": 0.888}
    worst = {"worst_class": "class 0", "worst_class_accuracy": min(accuracies)}
    return figures.model_copy(update=intervals | worst | {"classes": classes})


def _page(by_arm: dict[Arm, ArmMetrics], split: str = "test") -> str:
    page = render(
        "report_split",
        split=split,
        by_arm=by_arm,
        gap=None,
        note="…",
        judges=not says_nothing_of_quality(split),
        statistics=["accuracy", "worst_class_accuracy", "balanced_accuracy"],
        **tables(by_arm, "patient"),
    )
    return re.sub(r"\s+", " ", page)


def test_a_long_table_has_the_worst_classes() -> None:
    accuracies = [0.9] * (MOST_GROUPS + 20)
    accuracies[-1], accuracies[-2] = 0.1, 0.2
    found = tables(
        {Arm.ERM: _figures(*[0.9] * len(accuracies)), Arm.MASKTUNE: _figures(*accuracies)}, "subject"
    )
    assert [name for name, _, _ in found["rows"]][:2] == [
        f"class {MOST_GROUPS + 19}",
        f"class {MOST_GROUPS + 18}",
    ]
    assert (len(found["rows"]), found["of"]) == (MOST_GROUPS, MOST_GROUPS + 20)
    assert f"Only the {MOST_GROUPS} of {MOST_GROUPS + 20} classes in which a model is worst" in _page(
        {Arm.MASKTUNE: _figures(*accuracies)}
    )


def test_few_classes_keep_their_order() -> None:
    found = tables({Arm.ERM: _figures(0.9, 0.5, 0.7)}, "subject")
    assert [name for name, _, _ in found["rows"]] == ["class 0", "class 1", "class 2"]
    assert found["of"] == 3


def test_every_figure_stands_with_its_interval() -> None:
    page = _page({Arm.ERM: _figures(0.9, 0.5)})
    assert "11.1 % – 99.9 %" in page
    assert "2.2 % – 88.8 %" in page


def test_equal_accuracies_have_no_lowest() -> None:
    marked = 'class="number lowest"'
    assert marked not in _page({Arm.ERM: _figures(1.0, 1.0)})
    assert _page({Arm.ERM: _figures(1.0, 0.9)}).count(marked) == 1


def test_splits_without_an_object_are_not_judged() -> None:
    page = _page({Arm.ERM: _figures(1.0, 0.9)}, split="only_bg_t")
    assert 'class="number lowest"' not in page
    lower = next(
        difference.model_copy(update={"low": -0.3, "high": -0.1})
        for difference in Report.model_validate(report()).differences["test"]
    )
    facts: dict[str, Any] = {"split": "test", "note": "…", "explained": "…", "differences": [lower]}
    assert "worse" in render("report_changes", judges=True, **facts)
    assert "worse" not in render("report_changes", judges=False, **facts)
