"""Which samples a calibration counts, and what it says of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from worker.results import CalibrateResult
from worker.stages.calibrate import SampleCounts, calibrate, sample_counts

SPLITS = ("train", "val", "calibration", "calibration", "calibration", "calibration")


def _store(folder: Path, subjects: Sequence[str | None], copy_of: int = 3) -> Store:
    """Six images, of which the last is a copy of the one at `copy_of`."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images[5] = images[copy_of]
    info = DatasetInfo("pets", "csv", ("cat", "dog"))
    write_arrays(folder, Arrays(images, np.arange(6) % 2, SPLITS), info, subjects=subjects)
    return Store.open(folder)


@pytest.mark.parametrize(
    ("subjects", "counts"),
    [
        ([None] * 6, SampleCounts(None, copies_left_out=1, same_subject_left_out=None)),
        ([None, None, "a", None, "a", None], SampleCounts(1, copies_left_out=1, same_subject_left_out=1)),
        (["a", "b", "a", "c", "b", "c"], SampleCounts(1, copies_left_out=0, same_subject_left_out=3)),
    ],
)
def test_images_and_subjects_are_told_apart(
    tmp_path: Path, subjects: Sequence[str | None], counts: SampleCounts
) -> None:
    store = _store(tmp_path / "ds", subjects)
    assert sample_counts(store, store.rows("calibration"), store.calibration_rows()) == counts


def test_a_job_without_a_sample_to_calibrate_with_says_why(tmp_path: Path) -> None:
    logged: list[str] = []
    store = _store(tmp_path / "ds", ["a", "b", "a", "a", "b", "b"])
    context = cast(Any, SimpleNamespace(store=store, log=logged.append))
    assert calibrate(context) == CalibrateResult(artifact=None, calibrations={})
    assert logged[0].startswith("4 images were left out of the calibration: one image per subject counts")
    assert "every image or subject of the calibration split is in train or val too" in logged[1]
