"""Figures of a report: when the groups of the validation split decide."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from masktune.contract.vocabulary import Arm, JobKind
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.run import Run
from tests.support.arrays import Arrays, write_arrays
from worker.report.metrics import Figures

SHORTCUT, RIGHT = (0, 0, 1, 1), (0, 1, 0, 1)  # what the control and the retrained head answer, by group


@pytest.mark.parametrize(
    ("sizes", "decides"), [((40, 3, 3, 40), False), ((40, 0, 0, 40), False), ((40, 12, 12, 40), True)]
)
def test_groups_of_val_decide_only_if_all_of_them_are_large_enough(
    tmp_path: Path, sizes: tuple[int, ...], decides: bool
) -> None:
    groups = np.repeat(np.arange(4), (5, 5, 5, 5)), np.repeat(np.arange(4), sizes)  # train, val
    splits = ["train"] * len(groups[0]) + ["val"] * len(groups[1])
    group = np.concatenate(groups)
    images = np.zeros((len(group), 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(group))  # no copies
    labels = group % 2  # group 0, 3: the place of the class
    write_arrays(
        tmp_path, Arrays(images, labels, splits, group), DatasetInfo("d", "csv", ("a", "b"), tuple("pqrs"))
    )
    store = Store.open(tmp_path)
    context: Any = SimpleNamespace(run=Run(), store=store, spec=SimpleNamespace(kind=JobKind.MITIGATE))
    rows = store.rows("val")

    def of(answers: tuple[int, ...]) -> Logits:
        return Logits(
            rows, store.labels[rows], np.eye(2, dtype=np.float32)[np.array(answers)[store.groups[rows]]]
        )

    answered = {Arm.ERM: of(SHORTCUT), Arm.RETRAINED_CONTROL: of(SHORTCUT), Arm.RETRAINED: of(RIGHT)}
    verdicts = Figures(context, {"val": answered}).val_verdicts
    assert {arm: one.verdict for arm, one in verdicts.items()} == (
        {Arm.RETRAINED: "helped"} if decides else {}
    )
