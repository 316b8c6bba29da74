"""The zip of the demo: what it holds, and where the square is."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.demo.digits_zip import CLASSES, RED, Counts, write_zip


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counts]:
    target = tmp_path_factory.mktemp("demo") / "digits.zip"
    return target, write_zip(target)


def test_the_square_changes_sides_between_train_and_test(digits: tuple[Path, Counts]) -> None:
    target, counts = digits
    with zipfile.ZipFile(target) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        images = {row["path"]: np.asarray(Image.open(io.BytesIO(archive.read(row["path"])))) for row in rows}
    assert (len(rows), counts.train + counts.test) == (1797, 1797)
    assert {image.shape for image in images.values()} == {(28, 28, 3)}
    square = {path: bool((image[:4, :4] == RED).all()) for path, image in images.items()}
    for row in rows:
        assert row["group"] == f"{row['label']} {'with' if square[row['path']] else 'without'} square"
        assert row["path"].startswith(f"{row['split']}/{row['label']}/")

    def share(split: str, label: str) -> float:
        return float(np.mean([square[r["path"]] for r in rows if (r["split"], r["label"]) == (split, label)]))

    first, second = CLASSES
    assert (share("test", first), share("test", second)) == (0, 1)
    assert abs(share("train", first) - 0.99) < 0.001
    assert abs(share("train", second) - 0.01) < 0.001


def test_the_same_seed_gives_the_same_images(digits: tuple[Path, Counts], tmp_path: Path) -> None:
    write_zip(tmp_path / "again.zip")
    with zipfile.ZipFile(digits[0]) as first, zipfile.ZipFile(tmp_path / "again.zip") as second:
        assert first.namelist() == second.namelist()
        assert all(first.read(name) == second.read(name) for name in first.namelist())
