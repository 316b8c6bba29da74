"""Evaluations of a model: which comes first, and what is said of it."""

from __future__ import annotations

from typing import Any

from masktune.contract.models import Evaluation, in_order_of_evidence
from masktune.contract.report.text import evaluation_statement
from tests.support.answers import EVALUATION


def evaluation(name: str, **fields: Any) -> Evaluation:
    return Evaluation.model_validate(EVALUATION | {"dataset_name": name, **fields})


def test_the_one_that_rests_on_the_most_is_first() -> None:
    of_none = {"groups": None, "smallest_group": None}
    expected = [
        evaluation("labelled", smallest_group=10, created_at=1),
        evaluation("more inferred", groups="inferred", smallest_group=90, created_at=1),
        evaluation("newer", groups="inferred", smallest_group=20, n=50, created_at=3),
        evaluation("older", groups="inferred", smallest_group=20, n=500, created_at=2),
        evaluation("newest without groups", **of_none, n=50, created_at=9),
        evaluation("without groups", **of_none, n=50_000, created_at=8),
    ]
    for turn in range(len(expected)):
        assert in_order_of_evidence(expected[turn:] + expected[:turn]) == expected
    assert in_order_of_evidence([]) == []


def test_the_interval_is_said_of_the_figure_that_decides() -> None:
    assert evaluation_statement(evaluation("birds")) == (
        "worst labelled group 61.0\u00a0% (95\u00a0% interval 48.0 – 73.0), 60 in the smallest group; "
        "accuracy 92.0\u00a0%; 1,200 test images of birds, 3 Nov 2025, 09:30 UTC"
    )
    without = evaluation("birds", groups=None, smallest_group=None, worst_group_accuracy=None, n=1)
    assert evaluation_statement(without) == (
        "accuracy 92.0\u00a0% (95\u00a0% interval 48.0 – 73.0), no groups that decide; 1 test image of "
        "birds, 3 Nov 2025, 09:30 UTC"
    )
