"""The verbs of the project, as `make --dry-run` tells what they would do; and when `make audit` is green."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_an_environment_that_was_begun_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """Without Debian's python3-venv, `python -m venv` leaves an interpreter and no pip, and ends with 1."""
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\ntest "$2" != venv || { mkdir -p "$3/bin"; touch "$3/bin/python"; exit 1; }\n'
    )
    python.chmod(0o755)
    command = ["make", f"VENV={tmp_path}/venv", f"PYTHON={python}", "install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode
    assert not (tmp_path / "venv/bin/python").exists()


def test_an_environment_of_ones_own_gets_a_pip_that_knows_groups(tmp_path: Path) -> None:
    """The README's way to the CPU build makes one with the pip of Python, which has no `--group`."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    command = ["make", "--dry-run", f"VENV={tmp_path}", "install-dev"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in told.splitlines() if "install --upgrade" in line or "--group" in line]
    assert ["pip>=25.1" in line for line in lines] == [True, False]


@pytest.mark.parametrize("verb", ["install", "dist"])
def test_distributions_of_this_repository_are_named_by_path(tmp_path: Path, verb: str) -> None:
    """By name, pip would ask an index, where a stranger's package may have the name."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    command = ["make", "--dry-run", f"VENV={tmp_path}", verb]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    (words,) = (line.split() for line in lines if {"wheel", "--editable"} & set(line.split()))
    assert {"./packaging/masktune", "."} <= set(words)
    assert not any(word.startswith("masktune") for word in words)


AUDIT = """#!/bin/sh
case "$*" in
  *deploy/requirements*) exit {of_ours} ;;
  *) echo '{about_the_known}'; exit 1 ;;
esac
"""
FLAW = '{"dependencies": [{"name": "jinja2", "vulns": [{"id": "PYSEC-2019-217"}]}]}'
NO_FLAW = '{"dependencies": [{"name": "jinja2", "vulns": []}]}'


@pytest.mark.parametrize(
    ("about_the_known", "of_ours", "succeeds"),
    [(FLAW, 0, True), (FLAW, 1, False), (NO_FLAW, 0, False), ("", 0, False)],
    ids=["nothing found", "a flaw in ours", "an index that calls all clean", "an index without advisories"],
)
def test_an_audit_is_green_only_where_a_known_flaw_is_found(
    tmp_path: Path, about_the_known: str, of_ours: int, succeeds: bool
) -> None:
    (tmp_path / "bin").mkdir()
    pip_audit = tmp_path / "bin" / "pip-audit"
    pip_audit.write_text(AUDIT.format(about_the_known=about_the_known, of_ours=of_ours))
    pip_audit.chmod(0o755)
    command = ["make", "--old-file=install-dev", f"VENV={tmp_path}", "audit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is succeeds
    assert ("has no advisories" in done.stdout) is (about_the_known != FLAW)
