"""The tables of a report's page, from the figures of one split. What they say is in `tests/golden_texts`."""

from __future__ import annotations

from typing import Any

from masktune.contract.report import Report
from masktune.contract.report.accuracy import ArmMetrics
from masktune.contract.vocabulary import Arm
from tests.golden_texts.visible_text import visible_text
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
    return figures.model_copy(update={"classes": classes})


def _page(*accuracies: float) -> str:
    by_arm = {Arm.MASKTUNE: _figures(*accuracies)}
    facts: dict[str, Any] = {
        "split": "test",
        "gap": None,
        "note": "…",
        "judges": True,
        "statistics": ["accuracy"],
    }
    facts |= {"statistics": ["accuracy"], "recommended": None}
    return visible_text(render("report_split", by_arm=by_arm, **facts, **tables(by_arm, "patient")))


def test_a_long_table_has_the_worst_classes() -> None:
    accuracies = [0.9] * (MOST_GROUPS + 20)
    accuracies[-1], accuracies[-2] = 0.1, 0.2
    by_arm = {Arm.ERM: _figures(*[0.9] * len(accuracies)), Arm.MASKTUNE: _figures(*accuracies)}
    table = tables(by_arm, "subject")
    names = [name for name, _, _ in table["rows"]]
    assert names[:2] == [f"class {MOST_GROUPS + 19}", f"class {MOST_GROUPS + 18}"]
    assert (len(names), table["of"]) == (MOST_GROUPS, MOST_GROUPS + 20)
    counts = f"Only the {MOST_GROUPS} of {MOST_GROUPS + 20} classes in which a model is worst"
    assert counts in _page(*accuracies)


def test_few_classes_keep_their_order() -> None:
    table = tables({Arm.ERM: _figures(0.9, 0.5, 0.7)}, "subject")
    assert [name for name, _, _ in table["rows"]] == ["class 0", "class 1", "class 2"]
    assert table["of"] == 3


def test_equal_accuracies_have_no_lowest() -> None:
    assert "{lowest}" not in _page(1.0, 1.0)
    assert _page(1.0, 0.9).count("{lowest}") == 1
