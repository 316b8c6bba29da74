"""Every hostile input so far ends as it did: refused with its code, or accepted where it does no harm."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from models.export import ModelError, import_safetensors
from tests.corpus.makers import BACKBONE, CLASSES, IMAGE_SIZE, MAKERS
from tests.corpus.replays import ACCEPTED, REPLAYS

CORPUS = Path(__file__).parents[3] / "corpus"
EXPECTATIONS = CORPUS / "expected.toml"


def replay_model(file: Path) -> str:
    try:
        import_safetensors(file, backbone=BACKBONE, classes=CLASSES, image_size=IMAGE_SIZE)
    except ModelError as error:
        return error.reason
    return ACCEPTED


def expectations() -> dict[str, str]:
    tables = tomllib.loads(EXPECTATIONS.read_text(encoding="utf-8"))
    return {f"{folder}/{name}": code for folder, names in tables.items() for name, code in names.items()}


STORED = {
    f"{folder}/{file.name}": file for folder in (*REPLAYS, "models") for file in (CORPUS / folder).iterdir()
}
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
    outcome = (
        replay_model(file) if folder == "models" else clean_process.submit(REPLAYS[folder], file).result()
    )
    line = f'"{name}" = "{outcome}"'
    assert path in EXPECTED, f"if that is right, add to [{folder}] of {EXPECTATIONS.name}: {line}"
    assert outcome == EXPECTED[path]


def test_nothing_is_expected_of_inputs_that_are_not_there() -> None:
    assert EXPECTED.keys() <= INPUTS.keys()


def test_large_inputs_are_made_and_not_stored() -> None:
    assert [path for path, file in STORED.items() if file.stat().st_size > 20_000] == []
    assert STORED.keys().isdisjoint(MAKERS)
