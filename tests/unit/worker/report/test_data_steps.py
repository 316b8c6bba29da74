"""Steps where the data stand in the way, around those that choose a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masktune.contract.report.columns import ColumnShortcut
from masktune.contract.report.recommendation import Recommendation
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from worker.report.columns import with_data_steps

CHOSEN = Recommendation.model_validate(
    {
        "arm": "erm",
        "model": "mdl_1",
        "reason": "no_gain",
        "next": [
            {"step": "use_control", "arm": "erm", "model": "mdl_1"},
            {"step": "add_test_images", "per_class": 100},
        ],
    }
)


def opened(tmp_path: Path, cells: Sequence[str], subjects: Sequence[str | None] = (), **info: Any) -> Store:
    """Half of the images are of each class, alternately; the last four are the test split."""
    n = len(cells)
    arrays = Arrays(np.zeros((n, 8, 8, 3), np.uint8), np.arange(n) % 2, ["train"] * (n - 4) + ["test"] * 4)
    described = DatasetInfo("pets", "csv", ("cat", "dog"), **info)
    write_arrays(tmp_path / "ds", arrays, described, subjects=subjects, metadata={"site": cells})
    return Store.open(tmp_path / "ds")


def steps(store: Store, **shortcut: Any) -> list[dict[str, Any]]:
    columns = []
    if shortcut:
        plain = {"column": "site", "sentence": "Site tells.", "is_grouping": False}
        columns = [ColumnShortcut.model_validate(plain | shortcut)]
    return [step.model_dump() for step in with_data_steps(CHOSEN, columns, None, store=store).next]


def test_without_leak_and_shortcut_the_steps_stay(tmp_path: Path) -> None:
    assert [step["step"] for step in steps(opened(tmp_path, ["A"] * 8))] == ["use_control", "add_test_images"]


def test_subjects_in_train_and_test_come_first(tmp_path: Path) -> None:
    first, *others = steps(opened(tmp_path, ["A"] * 8, ["p1", "p2", "p3", "p4", "p1", "p2", "p5", None]))
    assert first == {"step": "cut_splits", "split": "test", "subjects": 2}
    assert [step["step"] for step in others] == ["use_control", "add_test_images"]


def test_a_column_that_no_image_separates_comes_before_the_choice_and_asks_for_images(tmp_path: Path) -> None:
    after = steps(opened(tmp_path, ["A", "B"] * 20), separating=0)
    assert [step["step"] for step in after] == ["separate_columns", "use_control", "add_test_images"]
    assert after[0]["columns"] == ["site"]


def test_a_column_that_images_separate_is_measured_balanced_and_held_out(tmp_path: Path) -> None:
    cells = ["A", "B"] * 20 + ["C"] * 24
    after = steps(opened(tmp_path, cells), separating=5)
    assert after[1:4] == [
        {"step": "measure_by_column", "column": "site", "is_number": False},
        {"step": "balance_over_column", "column": "site", "grouped": False},
        {"step": "hold_out_value", "column": "site", "value": "C"},
    ]
    assert (after[0]["step"], after[4]["step"]) == ("use_control", "add_test_images")


@pytest.mark.parametrize(
    ("cells", "shortcut", "info", "names"),
    [
        (["A", "B"] * 20, {"separating": 1}, {}, ["measure_by_column"]),
        (["A", "B"] * 20, {"separating": 9, "is_grouping": True}, {}, ["balance_over_column"]),
        (
            ["A", "B"] * 20 + ["C"] * 24,
            {"separating": 1, "is_grouping": True},
            {"split_record": {"hold_out": ["meta:site=C"]}},
            [],
        ),
        ([str(n) for n in range(40)], {"separating": 9}, {}, ["measure_by_column"]),
        ([f"site {n % 120}" for n in range(240)], {"separating": 9}, {}, []),
    ],
)
def test_what_was_done_or_cannot_be_is_not_offered(
    tmp_path: Path, cells: list[str], shortcut: dict[str, Any], info: dict[str, Any], names: list[str]
) -> None:
    after = [step["step"] for step in steps(opened(tmp_path, cells, **info), **shortcut)]
    assert after == ["use_control", *names, "add_test_images"]
