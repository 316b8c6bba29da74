"""The verbs of the project, as `make --dry-run` tells what they would do."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_an_environment_of_ones_own_gets_a_pip_that_knows_groups(tmp_path: Path) -> None:
    """The README's way to the CPU build makes one with the pip of Python, which has no `--group`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    command = ["make", "--dry-run", f"VENV={tmp_path}", "install-dev"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in told.splitlines() if "install --upgrade" in line or "--group" in line]
    assert ["pip>=25.1" in line for line in lines] == [True, False]
