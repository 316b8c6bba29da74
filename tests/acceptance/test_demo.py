"""`masktune demo`, which is what `make demo` runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.processes import ROOT, Processes
from tests.support.waits import PATIENCE

pytestmark = pytest.mark.docs


@pytest.fixture
def one_core() -> Iterator[None]:
    """What a test starts runs on a single core.

    The demo drops the settings of its environment and trains with a thread on each core that it may use. On
    cores that other tests use as well, two threads wait for each other for most of the time, spinning.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def intervals(row: str) -> list[tuple[float, float]]:
    """Those of a row of figures, one of each model."""
    return [(float(low), float(high)) for low, high in re.findall(r"\((\S+)–(\S+)\)", row)]


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_the_demo_ends_by_itself_and_leaves_nothing_running(processes: Processes, tmp_path: Path) -> None:
    demo = processes.masktune("demo", "--output", str(tmp_path / "out"))
    output, _ = demo.communicate()
    assert demo.returncode == 0, output
    assert processes.left() == []
    words = " ".join(output.split())  # paragraphs are wrapped, and columns aligned
    rates = re.search(r"on the wrong class: ERM (\S+) %, Control (\S+) %, MaskTune (\S+) %\.", words)
    assert rates is not None
    erm, control, masktune = map(float, rates.groups())
    assert max(erm, control) < 50, "a model that learned the square is wrong there"
    assert masktune > 90
    (of_readme,) = re.findall(r"^\| accuracy \|.*", (ROOT / "README.md").read_text(), re.MULTILINE)
    (printed,) = re.findall(r"Average accuracy((?: \S+ \(\S+\)){3})", words)
    for one, other in zip(intervals(of_readme), intervals(printed), strict=True):
        assert max(one[0], other[0]) <= min(one[1], other[1]), "the README has other figures"
    for said in (
        "1,797 real handwritten digits",
        "100% succeeded",
        "MaskTune helped. MaskTune is right on ",
        "target coverage, threshold",
        "The service has stopped.",
    ):
        assert said in words
    for arm in ("erm", "masktune"):
        with Image.open(tmp_path / "out" / f"looks-{arm}.png") as picture:
            assert picture.format == "PNG"
    assert "</html>" in (tmp_path / "out/report.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("one_core")
def test_the_demo_on_photographs_shows_what_masking_and_what_a_retrained_head_do(
    processes: Processes, tmp_path: Path
) -> None:
    demo = processes.masktune("demo", "--photographs", "--output", str(tmp_path / "out"))
    output, _ = demo.communicate()
    assert demo.returncode == 0, output
    for said in (
        "colourfulness of the image alone tells loop from no loop",
        "1. Use the retrained head.",
        "The retrained head helped. The retrained head is right on ",
        "MaskTune is right on ",  # whatever its verdict is
        "loop · flower",
        "target coverage, threshold",
        "The service has stopped.",
    ):
        assert said in " ".join(output.split())
    for arm in ("erm", "masktune", "retrained"):
        assert (tmp_path / f"out/looks-{arm}.png").read_bytes().startswith(b"\x89PNG")
    assert "</html>" in (tmp_path / "out/report.html").read_text()


def test_a_folder_that_cannot_be_written_is_told_in_a_line(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    assert processes.masktune("demo", "--output", "taken").wait(PATIENCE) == 1
    assert (tmp_path / "demo.log").read_text() == "masktune: taken: File exists\n"


def test_a_demo_that_is_interrupted_leaves_nothing_running(processes: Processes, tmp_path: Path) -> None:
    demo = processes.masktune("demo", "--output", str(tmp_path / "out"))
    assert demo.stdout is not None
    assert any("It answers at" in line for line in demo.stdout)
    demo.terminate()
    assert demo.wait(PATIENCE) == 130
    assert processes.left() == []
