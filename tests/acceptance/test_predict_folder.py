"""`masktune predict` of a folder, beside a service that has a model: each file once, the broken one too."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from masktune import Client
from tests.support.jobs.golden import Golden
from tests.support.processes import Processes, address
from tests.support.waits import PATIENCE

pytestmark = [pytest.mark.slow]

IMAGES = 12


def test_a_folder_becomes_a_table(processes: Processes, golden: Golden, tmp_path: Path) -> None:
    golden.copy(tmp_path / "var")
    serve = ("serve", "--port", "0", "--data-dir", str(tmp_path / "var"))
    url = address(processes.masktune(*serve, ALLOWED_SOURCES=f"file://{tmp_path}"))
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

    summary = json.loads(_run(processes, url, "today", "-m", model, "-o", "today.csv", "--json"))
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

    printed = _run(processes, url, "today", "-m", model, "--least-sure-first", "--format", "parquet")
    assert "unreadable" in printed
    assert "the predictions are in job_" in printed
    assert [path.suffix for path in tmp_path.glob("job_*")] == [".parquet"]
    _check_addresses(processes, url, model, expected)
    assert expected["00.png"] in _run(processes, url, "today/00.png", "-m", model), "answered at once"


def _check_addresses(processes: Processes, url: str, model: str, expected: dict[str, str]) -> None:
    """An address, of the folder or of a table of some of its files, is the source of one job."""
    folder = processes.folder / "today"
    names = list(expected)[:3]
    (folder / "table.csv").write_text("\n".join(["path", *names, "gone.png"]))
    for source, left_out in ((f"file://{folder}", ["cut.png"]), (f"file://{folder}/table.csv", ["gone.png"])):
        summary = json.loads(_run(processes, url, source, "-m", model, "-o", "there.csv", "--json"))
        with (processes.folder / "there.csv").open(newline="") as file:
            rows = {row["path"]: row for row in csv.DictReader(file)}
        answered = names if source.endswith(".csv") else list(expected)
        assert {path: row["predicted"] for path, row in rows.items() if row["row"]} == {
            name: expected[name] for name in answered
        }
        assert [path for path, row in rows.items() if not row["row"]] == left_out
        with Client(url) as client:
            assert client.datasets.get(summary["dataset"]).source == {"address": source}
    command = processes.masktune("predict", f"file://{folder}/cut.png", "-m", model, URL=url)
    command.communicate(timeout=PATIENCE)
    assert command.returncode == 4
    assert "is invalid: " in (processes.folder / "predict.log").read_text()


def _run(processes: Processes, url: str, *arguments: str) -> str:
    """What `masktune predict` prints."""
    command = processes.masktune("predict", *arguments, URL=url)
    try:
        printed, _ = command.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        command.kill()
        raise
    assert command.returncode == 0, (processes.folder / "predict.log").read_text()
    return printed
