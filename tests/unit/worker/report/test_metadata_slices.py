"""Accuracy by metadata: corrected for what was looked at, counted in subjects, against the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masktune.contract.report.metadata import MetadataSlices
from masktune.contract.vocabulary import Arm
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.statistics import wilson
from tests.support.arrays import Arrays, write_arrays
from worker.report.metadata_slices import make_metadata_slices

COUNT = 200
LABELS = np.arange(COUNT) % 2
SCANNER = np.arange(COUNT) // 2 % 4


def store(folder: Path, *, images: int = COUNT, patients: int | None = None, columns: bool = True) -> Store:
    """Test images with four scanners by turns, of as many patients, `images` of them distinct."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 4, 4, 3)).astype(np.uint8)
    write_arrays(
        folder / "store",
        Arrays(pixels[np.arange(COUNT) % images], LABELS, ["test"] * COUNT),
        DatasetInfo("x", "y", ("a", "b")),
        subjects=[] if patients is None else [f"patient {n % patients}" for n in range(COUNT)],
        metadata={"scanner": [f"X{number}" for number in SCANNER]} if columns else None,
    )
    return Store.open(folder / "store")


def logits(wrong: np.ndarray) -> Logits:
    answers = np.where(wrong, 1 - LABELS, LABELS)
    return Logits(np.arange(COUNT), LABELS, np.eye(2, dtype=np.float32)[answers])


def make(of_store: Store, **wrong: np.ndarray) -> MetadataSlices:
    by_arm = {Arm(name): logits(mistakes) for name, mistakes in wrong.items()}
    section = make_metadata_slices(of_store, {"val": {}, "test": by_arm})
    assert section is not None
    return section


NONE, MOST_OF_X1 = np.zeros(COUNT, bool), (SCANNER == 1) & (np.arange(COUNT) % 16 != 2)


def test_every_model_has_its_accuracy_on_each_value_and_on_all_other_images(tmp_path: Path) -> None:
    section = make(store(tmp_path), erm=MOST_OF_X1, masktune=NONE)
    assert [part.value for part in section.slices] == ["X0", "X1", "X2", "X3"]
    assert (section.n, section.comparisons, section.confidence) == (COUNT, 8, 1 - 0.05 / 8)
    part = section.slices[1]
    erm = part.accuracies[Arm.ERM]
    wrong = int(MOST_OF_X1.sum())
    assert (part.n, erm.n, erm.correct, erm.rest.n, erm.rest.correct) == (50, 50, 50 - wrong, 150, 150)
    assert (erm.low, erm.high) == wilson(50 - wrong, 50, confidence=section.confidence)
    assert erm.is_lower
    assert not part.accuracies[Arm.MASKTUNE].is_lower
    assert not section.slices[0].accuracies[Arm.ERM].is_lower


def test_a_difference_that_chance_makes_among_so_many_slices_is_not_marked(tmp_path: Path) -> None:
    """Six wrong of fifty, where three are wrong of the other 150: significant alone, not among eight."""
    few = np.isin(np.arange(COUNT), [*np.flatnonzero(SCANNER == 1)[:6], *np.flatnonzero(SCANNER == 0)[:3]])
    part = make(store(tmp_path), erm=few, masktune=NONE).slices[1].accuracies[Arm.ERM]
    assert (part.correct, part.rest.correct) == (44, 147)
    assert wilson(44, 50, confidence=0.9).high < wilson(147, 150, confidence=0.9).low
    assert not part.is_lower


def test_patients_count_and_not_their_images(tmp_path: Path) -> None:
    """Fifty images of a scanner are of two patients: that both are misjudged says little of a scanner."""
    images = make(store(tmp_path / "images"), erm=MOST_OF_X1).slices[1]
    patients = make(store(tmp_path / "patients", patients=8), erm=MOST_OF_X1).slices[1]
    assert (images.n_subjects, patients.n_subjects) == (None, 2)
    assert images.accuracies[Arm.ERM].is_lower
    assert not patients.accuracies[Arm.ERM].is_lower
    assert patients.accuracies[Arm.ERM].accuracy == images.accuracies[Arm.ERM].accuracy


def test_a_picture_counts_once(tmp_path: Path) -> None:
    section = make(store(tmp_path, images=100), erm=NONE)
    assert section.n == 100
    assert sum(part.n for part in section.slices) == 100


@pytest.mark.parametrize(("columns", "split"), [(False, "test"), (True, "val")])
def test_without_metadata_or_test_there_is_no_section(tmp_path: Path, columns: bool, split: str) -> None:
    dataset_store = store(tmp_path, columns=columns)
    assert make_metadata_slices(dataset_store, {split: {Arm.ERM: logits(NONE)}}) is None
