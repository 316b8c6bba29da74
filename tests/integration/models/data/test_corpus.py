"""Every hostile input so far ends as it did: refused with its code, or accepted where it does no harm."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image

from models.data.archives import ArchiveLimits
from models.data.images.checks import check_image
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import Rejection
from models.export import ModelError, import_safetensors
from models.runtime.bounded import ProcessBudget
from tests.corpus.makers import BACKBONE, CLASSES, IMAGE_SIZE, MAKERS

CORPUS = Path(__file__).parents[3] / "corpus"
EXPECTATIONS = CORPUS / "expected.toml"
ACCEPTED = "accepted"
OPTIONS = ImportOptions(
    archive=ArchiveLimits(ratio_grace=4 << 20, entry_grace=500),
    reading=ProcessBudget(cpu_seconds=1, memory=256 << 20),
)
"""As in the service, but for bombs: those of a few megabytes are refused as larger ones are there."""


def replay_archive(file: Path) -> str:
    report = import_dataset(file, file.with_name("store"), OPTIONS)
    assert sorted(path.name for path in file.parent.iterdir()) == sorted([file.name, "store"])
    return ACCEPTED if report.state == "ready" else report.problems[0].code


def replay_image(file: Path) -> str:
    checked = check_image(file.read_bytes(), file.name)
    return checked.code if isinstance(checked, Rejection) else ACCEPTED


def replay_table(file: Path) -> str:
    """As `metadata.*` beside twelve images, a.png to l.png."""
    upload = file.parent / "upload"
    upload.mkdir()
    file.rename(upload / f"metadata{file.suffix}")
    for shade, letter in enumerate("abcdefghijkl"):
        Image.new("L", (8, 8), shade).save(upload / f"{letter}.png")
    report = import_dataset(upload, file.with_name("store"), OPTIONS)
    return ACCEPTED if report.state == "ready" else report.problems[0].code


def replay_model(file: Path) -> str:
    try:
        import_safetensors(file, backbone=BACKBONE, classes=CLASSES, image_size=IMAGE_SIZE)
    except ModelError as error:
        return error.reason
    return ACCEPTED


REPLAYS: Mapping[str, Callable[[Path], str]] = {
    "archives": replay_archive,
    "images": replay_image,
    "tables": replay_table,
    "models": replay_model,
}
"""Folder of the corpus → how a file in it is tried."""


def expectations() -> dict[str, str]:
    tables = tomllib.loads(EXPECTATIONS.read_text(encoding="utf-8"))
    return {f"{folder}/{name}": code for folder, names in tables.items() for name, code in names.items()}


STORED = {f"{folder}/{file.name}": file for folder in REPLAYS for file in (CORPUS / folder).iterdir()}
INPUTS = {path: file.read_bytes for path, file in STORED.items()} | dict(MAKERS)
"""Path in the corpus → what reads or makes the file."""
EXPECTED = expectations()


@pytest.fixture(scope="module")
def clean_process() -> Iterator[ProcessPoolExecutor]:
    """As small as that of a job: where other tests have run, freed memory makes room within any budget."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", sorted(INPUTS))
def test_an_input_of_the_corpus_ends_as_expected(
    tmp_path: Path, clean_process: ProcessPoolExecutor, path: str
) -> None:
    folder, name = path.split("/")
    file = tmp_path / name
    file.write_bytes(INPUTS[path]())
    outcome = str(clean_process.submit(REPLAYS[folder], file).result())
    line = f'"{name}" = "{outcome}"'
    assert path in EXPECTED, f"if that is right, add to [{folder}] of {EXPECTATIONS.name}: {line}"
    assert outcome == EXPECTED[path]


def test_nothing_is_expected_of_inputs_that_are_not_there() -> None:
    assert EXPECTED.keys() <= INPUTS.keys()


def test_large_inputs_are_made_and_not_stored() -> None:
    assert [path for path, file in STORED.items() if file.stat().st_size > 20_000] == []
    assert STORED.keys().isdisjoint(MAKERS)
