"""Columns of metadata join the check for shortcuts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.data.layout import DatasetInfo
from models.data.store import Store
from models.shortcuts.check import find_shortcuts
from models.shortcuts.findings import Finding, ShortcutCheck
from models.shortcuts.metadata_properties import MAX_COLUMNS, metadata_properties
from tests.support.arrays import Arrays, write_arrays

MakeStore = Callable[..., Store]
TRAIN, TEST = 300, 100
LABELS = np.arange(TRAIN + TEST) % 2


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """Noise of two classes, in train and test, with these columns."""

    def make(
        *,
        labels: np.ndarray = LABELS,
        subjects: Sequence[str | None] = (),
        metadata: Mapping[str, Sequence[str]] | None = None,
    ) -> Store:
        images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)
        arrays = Arrays(images, labels, ["train"] * TRAIN + ["test"] * TEST)
        info = DatasetInfo("x", "y", ("a", "b"))
        return write_arrays(tmp_path / "store", arrays, info, subjects=subjects, metadata=metadata)

    return make


def check(store: Store) -> ShortcutCheck:
    return find_shortcuts(store, rng=np.random.default_rng(0), permutations=39)


def of_column(judged: ShortcutCheck, name: str) -> Finding:
    assert judged.metadata is not None
    return next(f for f in judged.metadata.findings if f.property == name)


def mostly(labels: np.ndarray, share: float) -> np.ndarray:
    """The label in `share` of the samples, else the other one."""
    drawn = np.random.default_rng(1).random(len(labels))
    return np.where(drawn < share, labels, 1 - labels)


def test_a_hospital_that_tells_the_class_is_found_and_named(make_store: MakeStore) -> None:
    hospital = [f"clinic {number}" for number in mostly(LABELS, 0.91)]
    judged = check(make_store(metadata={"hospital": hospital}))
    assert judged.metadata is not None
    assert (judged.strength, judged.metadata.strength) == ("none", "strong")
    best = judged.metadata.findings[0]
    assert best == of_column(judged, "hospital")
    assert best.correct == (mostly(LABELS, 0.91) == LABELS)[:TRAIN].sum()
    assert best.elsewhere is not None
    assert best.elsewhere.correct == (mostly(LABELS, 0.91) == LABELS)[TRAIN:].sum()
    right = 100 * best.accuracy
    assert judged.metadata.sentence == best.sentence
    assert best.sentence.startswith(
        f"The metadata column hospital alone tells a from b with {right:.1f} % accuracy (chance: 50.0 %)."
    )


def test_many_values_tell_by_which_of_them_go_with_a_class(make_store: MakeStore) -> None:
    sites = [f"site {2 * (number % 7) + label}" for number, label in enumerate(LABELS)]
    assert of_column(check(make_store(metadata={"site": sites})), "site").correct == TRAIN


def test_a_number_tells_by_bands_and_an_empty_cell_is_a_value(make_store: MakeStore) -> None:
    """Seconds since 1970 are too large to differ as float32."""
    seconds = [str(1_700_000_000 + number % 50 + 60 * label) for number, label in enumerate(LABELS)]
    stated = [str(number) if label else "" for number, label in enumerate(LABELS)]
    judged = check(make_store(metadata={"taken": seconds, "depth": stated}))
    assert of_column(judged, "taken").strength == "strong"
    assert of_column(judged, "depth").correct == TRAIN


def test_columns_of_chance_are_none_and_in_the_family(make_store: MakeStore) -> None:
    rng = np.random.default_rng(3)
    metadata = {
        "day": [str(day) for day in rng.integers(0, 30, len(LABELS))],
        "ward": [f"ward {ward}" for ward in rng.integers(0, 4, len(LABELS))],
    }
    judged = check(make_store(metadata=metadata))
    assert judged.metadata is not None
    assert (judged.metadata.strength, judged.metadata.sentence) == (
        "none",
        "As far as 300 images show, no metadata column that was judged predicts the label better than "
        "chance.",
    )
    assert of_column(judged, "ward").sentence.endswith("as far as 300 images show.")


def test_columns_that_can_tell_nothing_are_left_out_with_the_reason(make_store: MakeStore) -> None:
    metadata = {
        "file": [f"IMG {number}" for number in range(len(LABELS))],
        "device": ["x1"] * len(LABELS),
        "ward": [""] * TRAIN + ["north"] * TEST,
        "age": [""] * TRAIN + ["40", "50"] * (TEST // 2) + ["60"] * (TEST % 2),
        "year": ["2024"] * TRAIN + ["2025"] * TEST,
    }
    judged = check(make_store(metadata=metadata))
    assert judged.metadata is not None
    assert judged.metadata.sentence == "No metadata column could be judged."
    assert judged.metadata.notes == (
        "The metadata column file was left out: each of its values is that of fewer than 5 judged images.",
        "The metadata column device was left out: all judged images have the same value.",
        "The metadata column ward was left out: no judged image has a value.",
        "The metadata column age was left out: no judged image has a value.",
        "The metadata column year was left out: all judged images have the same value.",
    )


def test_rare_values_and_values_of_another_split_are_one_category(make_store: MakeStore) -> None:
    sites = ["north"] * 150 + ["south"] * 146 + ["hill", "dale", "hill", "dale"] + ["new"] * TEST
    store = make_store(metadata={"site": sites})
    coded = metadata_properties(store, store.rows("train"))
    assert coded.properties[0].categories == 3
    assert np.unique(coded.values[:296, 0]).tolist() == [0, 1]
    assert set(coded.values[296:, 0]) == {2}


def test_of_too_many_columns_the_first_are_judged_and_it_is_said(make_store: MakeStore) -> None:
    cells = [str(label) for label in LABELS]
    store = make_store(metadata={f"c{number}": cells for number in range(MAX_COLUMNS + 2)})
    coded = metadata_properties(store, store.rows("train"))
    assert len(coded.properties) == MAX_COLUMNS
    assert coded.notes == ("Only the first 50 of 52 metadata columns were judged.",)
