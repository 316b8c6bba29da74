"""The check for shortcuts where images belong to subjects."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.data.layout import DatasetInfo
from models.data.store import Store
from models.shortcuts.check import MAX_DRAWS, Draw, _draws, check_properties, find_shortcuts
from models.shortcuts.findings import ShortcutCheck
from models.shortcuts.properties import Property, PropertyTable
from tests.support.arrays import Arrays, write_arrays

PATIENTS, IMAGES = 60, 5
PATIENT = np.repeat(np.arange(PATIENTS), IMAGES)
CLASS = np.random.default_rng(0).integers(0, 2, PATIENTS)
SCANNER = np.arange(PATIENTS) % 8


def store(folder: Path, *, subjects: bool = True) -> Store:
    """Five images of each patient, who has one class and one scanner: chance alone joins these."""
    images = np.random.default_rng(0).integers(0, 256, (len(PATIENT), 8, 8, 3)).astype(np.uint8)
    return write_arrays(
        folder / f"store-{subjects}",
        Arrays(images, CLASS[PATIENT], ["train"] * 200 + ["test"] * 100),
        DatasetInfo("x", "y", ("a", "b")),
        subjects=[f"patient {patient}" for patient in PATIENT] if subjects else [],
        metadata={"scanner": [f"scanner {SCANNER[patient]}" for patient in PATIENT]},
    )


def check(of_store: Store) -> ShortcutCheck:
    return find_shortcuts(of_store, rng=np.random.default_rng(0), permutations=99)


def test_the_number_of_images_of_a_patient_proves_nothing(tmp_path: Path) -> None:
    judged, unaware = check(store(tmp_path)), check(store(tmp_path, subjects=False))
    assert judged.metadata is not None
    assert unaware.metadata is not None
    assert (judged.metadata.strength, judged.strength) == ("none", "none")
    assert unaware.metadata.strength != "none"


def test_figures_count_one_image_of_each_patient_and_it_is_said(tmp_path: Path) -> None:
    judged = check(store(tmp_path))
    assert (judged.n, judged.available) == (40, 200)
    assert {finding.n for finding in judged.findings} == {40}
    assert judged.findings[0].elsewhere is not None
    assert judged.findings[0].elsewhere.n == 20
    assert judged.sentence.endswith(
        "One image of each subject counts, 40 in all: those of one subject are not independent."
    )


def test_a_draw_has_one_image_of_each_patient_and_draws_take_them_in_turn(tmp_path: Path) -> None:
    dataset_store = store(tmp_path)
    rows = np.random.default_rng(1).permutation(dataset_store.rows("train"))[:150]
    draws = _draws(dataset_store, rows, 5000)
    of_patient = PATIENT[draws]
    assert len(draws) == 5
    assert (of_patient == of_patient[0]).all()
    assert sorted(of_patient[0]) == sorted(set(PATIENT[rows]))
    assert set(draws.ravel()) == set(rows)
    assert _draws(dataset_store, rows, 2 * draws.shape[1]).tolist() == draws[:2].tolist()
    assert len(_draws(dataset_store, rows, 1)) == 1


def table(values: np.ndarray) -> PropertyTable:
    """Of one property."""
    known = (Property("shade", "whole image", "the shade", ("mean",)),)
    return PropertyTable(np.arange(len(values)), known, values[:, None].astype(np.float32))


def p_value(further: int, *, seed: int, per_class: float) -> float:
    """Of a property that differs between classes by `per_class` and between patients by one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(PATIENTS) % 2
    centres = rng.normal(size=PATIENTS) * 0.7 + per_class * labels
    first, *redraws = (
        Draw(table(centres + 0.7 * rng.normal(size=PATIENTS)), labels) for _ in range(1 + further)
    )
    check = check_properties(*first, ("a", "b"), rng=rng, permutations=39, redraws=redraws)
    return check.findings[0].p_value


def test_further_draws_find_more_and_raise_no_more_alarms() -> None:
    seeds = range(20)
    one, six = (
        np.array([p_value(more, seed=s, per_class=0.8) <= 0.05 for s in seeds]) for more in (0, MAX_DRAWS - 1)
    )
    assert six.sum() >= one.sum() + 5
    alarms = [p_value(MAX_DRAWS - 1, seed=seed, per_class=0.0) <= 0.05 for seed in seeds]
    assert sum(alarms) <= 3  # of 20; more with a chance of 1.6 %


def test_a_further_draw_without_enough_images_of_a_class_does_not_count() -> None:
    """A patient may have lesions of several classes."""
    labels = np.arange(PATIENTS) % 2
    draw = Draw(table(labels.astype(float)), labels)
    others = np.where(np.arange(PATIENTS) < 50, 0, labels)
    skewed = Draw(table(np.zeros(PATIENTS)), others)
    unknown = Draw(table(np.zeros(PATIENTS)), np.full(PATIENTS, 2))

    def judged(*redraws: Draw) -> ShortcutCheck:
        rng = np.random.default_rng(0)
        return check_properties(*draw, ("a", "b", "c"), rng=rng, permutations=39, redraws=redraws)

    assert judged(skewed, unknown) == judged()
