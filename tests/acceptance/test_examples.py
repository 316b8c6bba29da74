"""The example programs, as a user starts them, against a service in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processes import ROOT, Processes, address

pytestmark = pytest.mark.docs


@pytest.mark.slow
def test_from_images_to_a_certified_answer(processes: Processes, tmp_path: Path) -> None:
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"))
    subprocess.run([sys.executable, ROOT / "examples/painted_digits.py", "squares"], cwd=tmp_path, check=True)
    program = [sys.executable, str(ROOT / "examples/certified_answer.py")]
    done = subprocess.run(
        [*program, "--url", address(serve), "--folder", "squares"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "927 train, 124 val, 186 calibration, 360 test" in done.stdout
    assert "the report: MaskTune helped. MaskTune is right on " in done.stdout
    assert re.search(
        r"certified on 186 calibration images: above a score of 0\.\d{3} at most 5%", done.stdout
    )
    told = re.search(r"(\d+) of 200 new images are answered, (\d+) of the answers are wrong", done.stdout)
    assert told is not None
    assert int(told[1]) > 50
    with Image.open(tmp_path / "squares/looks.png") as picture:
        assert picture.format == "PNG"


def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "squares" / "digits").mkdir(parents=True)
    (tmp_path / "squares" / "digits" / "labels.csv").touch()
    done = subprocess.run(
        [sys.executable, ROOT / "examples/certified_answer.py", "--url", "http://127.0.0.1:9"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no answer to POST /datasets" in done.stderr
