"""What a test run says of the tests that this machine could not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import NEEDS

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
from tests.support.machine import lacks

@pytest.fixture(scope="module")
def browser():
    lacks("chromium")

def test_of_a_page(browser):
    pass

def test_of_another_page(browser):
    pass

def test_of_a_processor():
    lacks("rounding by threads")
"""


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the three tests above, none of which can be run here."""
    (folder / "test_pages.py").write_text(TESTS)
    ours = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plain = {name: value for name, value in os.environ.items() if name != "CI"} | ours
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.support.machine",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    return subprocess.run(
        command, cwd=folder, env=plain | environment, capture_output=True, text=True, check=False
    )


def test_a_run_says_in_one_line_per_cause_what_was_not_tested(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("not tested: ")] == [
        "not tested: 2 tests of the dashboard in a browser — apt-get install chromium",
        "not tested: 1 test of sums in threads — on a processor that rounds by their number",
    ]


def test_in_ci_a_skipped_test_fails_unless_no_command_brings_what_it_needs(tmp_path: Path) -> None:
    done = run(tmp_path, CI="true")
    assert done.returncode == 1
    assert "2 errors" in done.stdout
    assert "1 skipped" in done.stdout
    assert "apt-get install chromium" in done.stdout


@pytest.mark.parametrize("name", NEEDS)
def test_a_cause_is_one_line(name: str) -> None:
    assert len(NEEDS[name].reason.splitlines()) == 1
