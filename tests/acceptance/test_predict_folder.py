"""`masktune predict` of a folder, beside a service that has a model: each file once, the broken one too."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from masktune import Client
from masktune.cli.main import app
from tests.support.jobs.golden import Golden
from tests.support.jobs.inline_service import inline_service

IMAGES = 4


@pytest.fixture
def url(golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with the golden job's models, which commands that run in `tmp_path` reach."""
    golden.copy(tmp_path / "var")
    with inline_service(tmp_path / "var", allowed_sources=f"file://{tmp_path}") as address:
        monkeypatch.setenv("MASKTUNE_URL", address)
        monkeypatch.chdir(tmp_path)
        yield address


def test_a_folder_becomes_a_table(url: str, golden: Golden, tmp_path: Path) -> None:
    folder, model = tmp_path / "today", golden.models["erm"]
    folder.mkdir()
    with Client(url) as client:
        expected = {}
        for number in range(IMAGES):
            image = folder / f"{number:02}.png"
            image.write_bytes(client.datasets.image(golden.dataset, number))
            (answer,) = client.predict.images(model, [image]).predictions
            expected[image.name] = str(answer.label)
    (folder / "cut.png").write_bytes(image.read_bytes()[:60])

    summary = json.loads(_run("today", "-m", model, "-o", "today.csv", "--json"))
    counts = summary["counts"]
    assert (counts["rows"], counts["answered"], counts["unreadable"]) == (IMAGES + 1, IMAGES, 1)
    assert sum(counts["labels"].values()) == IMAGES
    with (tmp_path / "today.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert {path: row["predicted"] for path, row in rows.items() if row["row"]} == expected
    assert {row["label"] for row in rows.values()} == {""}
    assert (rows["cut.png"]["decision"], rows["cut.png"]["row"]) == ("unreadable", "")
    assert rows["cut.png"]["reason"].startswith("truncated: ")
    with Client(url) as client:
        dataset = client.datasets.get(summary["dataset"])
        assert (dataset.format, dataset.classes) == ("unlabelled", [])

    printed = _run("today", "-m", model, "--least-sure-first", "--format", "parquet")
    assert "unreadable" in printed
    assert "the predictions are in job_" in printed
    assert [path.suffix for path in tmp_path.glob("job_*")] == [".parquet"]
    _check_addresses(url, folder, model, expected)
    assert expected["00.png"] in _run("today/00.png", "-m", model), "answered at once"


def _check_addresses(url: str, folder: Path, model: str, expected: dict[str, str]) -> None:
    """An address, of the folder or of a table of some of its files, is the source of one job."""
    names = list(expected)[:3]
    (folder / "table.csv").write_text("\n".join(["path", *names, "gone.png"]))
    for source, left_out in ((f"file://{folder}", ["cut.png"]), (f"file://{folder}/table.csv", ["gone.png"])):
        summary = json.loads(_run(source, "-m", model, "-o", "there.csv", "--json"))
        with Path("there.csv").open(newline="") as file:
            rows = {row["path"]: row for row in csv.DictReader(file)}
        answered = names if source.endswith(".csv") else list(expected)
        assert {path: row["predicted"] for path, row in rows.items() if row["row"]} == {
            name: expected[name] for name in answered
        }
        assert [path for path, row in rows.items() if not row["row"]] == left_out
        with Client(url) as client:
            assert client.datasets.get(summary["dataset"]).source == {"address": source}
    refused = CliRunner().invoke(app, ["predict", f"file://{folder}/cut.png", "-m", model])
    assert (refused.exit_code, "is invalid: " in refused.stderr) == (4, True)


def _run(*arguments: str) -> str:
    """What `masktune predict` prints."""
    done = CliRunner().invoke(app, ["predict", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout
