"""What Hugging Face's `datasets` writes and reads means the same to us: class, split, metadata and pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.data.importing.datasets import import_dataset
from models.data.store import Store

SPLITS = {"train": range(12), "validation": range(12, 16), "test": range(16, 24)}
OURS = {"validation": "val", "calibration": "val"}  # which is cut from the given val


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`datasets` with a cache of its own and without the network, as it reads from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        import datasets

        datasets.disable_progress_bars()
        yield datasets


@pytest.fixture(scope="module")
def pets(library: Any) -> Mapping[str, Any]:
    """Three splits of noise, half of it called cats."""
    features = library.Features(
        {
            "image": library.Image(),
            "label": library.ClassLabel(names=["dog", "cat"]),
            "age": library.Value("float64"),
            "site": library.Value("string"),
        }
    )
    return {
        split: library.Dataset.from_dict(
            {
                "image": [noise(number) for number in numbers],
                "label": [number % 2 for number in numbers],
                "age": [number / 2 if number % 5 else None for number in numbers],
                "site": [("Rome", "Berlin")[number % 3 % 2] for number in numbers],
            },
            features=features,
        )
        for split, numbers in SPLITS.items()
    }


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8))


def imported(folder: Path, target: Path) -> set[tuple[Any, ...]]:
    report = import_dataset(folder, target)
    assert (report.state, report.format, report.rejected) == ("ready", "hugging_face", ())
    store = Store.open(target)
    assert store.pixels is not None
    assert store.classes == ("dog", "cat")
    samples = ((store.sample(row), store.pixels[row].tobytes()) for row in range(len(store)))
    return {
        (
            pixels,
            store.classes[one.label],
            OURS.get(one.split, one.split),
            one.metadata["age"],
            one.metadata["site"],
        )
        for one, pixels in samples
    }


def loaded(by_split: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """The same of data sets of the library."""
    return {
        (
            np.asarray(row["image"]).tobytes(),
            rows.features["label"].int2str(row["label"]),
            OURS.get(split, split),
            row["age"],
            row["site"],
        )
        for split, rows in by_split.items()
        for row in rows
    }


def test_parquet_that_the_library_writes(library: Any, pets: Mapping[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "pets" / "data"
    for split, rows in pets.items():
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    assert imported(tmp_path / "pets", tmp_path / "ds") == loaded(pets)


def head_of_readme(library: Any, features: Any) -> str:
    from huggingface_hub import DatasetCardData

    card = DatasetCardData()
    library.info.DatasetInfosDict({"default": library.DatasetInfo(features=features)}).to_dataset_card_data(
        card
    )
    return f"---\n{card}\n---\n"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_image_folder_that_the_library_reads(
    library: Any, pets: Mapping[str, Any], tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "pets"
    for split, rows in pets.items():
        names = [f"{number}.png" for number in range(len(rows))]
        (folder / split).mkdir(parents=True)
        for name, image in zip(names, rows["image"], strict=True):
            image.save(folder / split / name)
        table = rows.remove_columns("image").add_column("file_name", names)
        write = {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[suffix]
        write(folder / split / f"metadata.{suffix}")
    features = pets["train"].features
    (folder / "README.md").write_text(head_of_readme(library, features))
    assert loaded(library.load_dataset(str(folder), features=features)) == loaded(pets)
    assert imported(folder, tmp_path / "ds") == loaded(pets)
