"""Which images of a data set trained models on another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.store import Store
from worker.report.subjects import known_images


def store(root: Path, images: Mapping[int, tuple[str, str]]) -> Store:
    """Number of an image → its split and subject; equal numbers are equal images, of the class of their
    parity."""
    rows = ["path,label,split,subject"]
    for number, (split, subject) in images.items():
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "images" / f"{number:02}.png")
        rows.append(f"images/{number:02}.png,{'even' if number % 2 == 0 else 'odd'},{split},{subject}")
    (root / "labels.csv").write_text("\n".join(rows))
    report = import_dataset(root, root / "store", ImportOptions(threads=1))
    assert report.state == "ready", report.problems
    return Store.open(root / "store")


def test_images_and_subjects_of_train_and_val_are_known_and_no_others(tmp_path: Path) -> None:
    trained = store(
        tmp_path / "trained",
        {
            0: ("train", "ann"),
            1: ("train", "ben"),
            2: ("val", "cem"),
            3: ("val", ""),
            4: ("calibration", "dan"),
            5: ("calibration", ""),
            6: ("test", "eva"),
            7: ("test", ""),
        },
    )
    brought = store(
        tmp_path / "brought",
        {
            0: ("test", ""),
            3: ("test", "fay"),
            10: ("test", "fay"),
            11: ("test", "cem"),
            5: ("test", ""),
            6: ("test", "gus"),
            12: ("test", "dan"),
            13: ("test", ""),
        },
    )
    known = known_images(brought, [trained])
    paths = [f"images/{number:02}.png" for number in (0, 3, 10, 11)]
    assert sorted(brought.sample(int(row)).path for row in known.rows) == paths
    assert (known.section.images, known.section.same_image) == (4, 2)
    assert sorted(known.section.paths) == paths
    assert sorted(known.section.subjects) == ["cem", "fay"]


def test_a_set_without_subjects_is_known_by_its_images(tmp_path: Path) -> None:
    splits = dict(enumerate(["train", "train", "val", "val", "calibration", "calibration", "test", "test"]))
    trained = store(tmp_path / "trained", {number: (split, "") for number, split in splits.items()})
    brought = store(tmp_path / "brought", dict.fromkeys((2, 6, 9), ("test", "")))
    assert brought.sample(int(known_images(brought, [trained]).rows[0])).path == "images/02.png"
    assert known_images(brought, []).section.images == 0
