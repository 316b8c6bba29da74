"""What a report says of a guess beside labelled groups."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

from models.data.layout import DatasetInfo
from models.mitigation.groups import Groups
from tests.support.arrays import Arrays, write_arrays
from worker.context import StageContext
from worker.report.groups import beside_labels

LABELS = np.array([0] * 6 + [1] * 4)
LABELLED = np.array([0, 0, 0, 1, 1, -1, 1, 1, 1, 0])
"""Both backgrounds occur in both classes; of the sixth image of class a, nobody said which it has."""
GUESS = np.array([0, 0, 1, 1, 0, 1, 2, 2, 2, 2])
"""Of class a, the third, the fourth and the sixth image are said to lack its pattern; b is undivided."""


def test_a_guess_has_precision_and_recall_by_class(tmp_path: Path) -> None:
    images = np.zeros((len(LABELS), 4, 4, 3), np.uint8)
    arrays = Arrays(images, LABELS, ["train"] * len(LABELS), LABELLED)
    info = DatasetInfo("x", "y", ("a", "b"), ("land", "water"))
    context = cast(StageContext, SimpleNamespace(store=write_arrays(tmp_path / "store", arrays, info)))
    rows, names = np.arange(len(LABELS)), ("a · own pattern", "a · another pattern", "b")
    groups = Groups("early_stages", True, GUESS, names)

    def counts(groups: Groups) -> dict[str, dict[str, tuple[int, int]]]:
        compared = beside_labels(context, groups, rows)
        return {
            part: {name: (one.correct, one.n) for name, one in of_part.items()}
            for part, of_part in compared.items()
        }

    assert counts(groups) == {
        "label_precision": {"a": (1, 2), "b": (0, 0)},
        "label_recall": {"a": (1, 2), "b": (0, 1)},
    }
    weights = np.where(rows == 2, 0.1, 1.0)  # the label of the third looks wrong: it is not counted
    doubted = Groups("early_stages", True, GUESS, names, weights=weights)
    assert counts(doubted)["label_precision"]["a"] == (1, 1)
