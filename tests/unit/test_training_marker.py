"""A test that trains fails without the marker, whichever test of a fixture that trains comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.training_marker import TrainingMarker, add_options as pytest_addoption

def pytest_configure(config):
    config.addinivalue_line("markers", "trains")
    config.pluginmanager.register(TrainingMarker(config))
"""
TESTS = """
import pytest
from tests.support.seeds import shifted
from torch.optim.optimizer import step

@pytest.fixture(scope="module")
def trained():
    step()

@pytest.fixture(scope="session")
def golden():
    step()

@pytest.mark.trains
def test_marked(trained):
    step()

def test_of_the_same_fixture(trained):
    pass

def test_that_trains_itself():
    step()

def test_of_the_shared_training(golden):
    pass

def test_without():
    pass

def test_of_seeds():
    assert (shifted(1), shifted(2)) == (2001, 2002)
"""
OPTIMIZER = """
hooks = []
register_optimizer_step_pre_hook = hooks.append

def step():
    for hook in hooks:
        hook(None, (), {})
"""
"""Instead of torch, whose import takes seconds. `test_eager_optim` holds that the product's optimizers call
these hooks."""


@pytest.mark.parametrize(
    ("chosen", "failing"),
    [
        ("", {"test_of_the_same_fixture", "test_that_trains_itself"}),
        ("not test_marked", {"test_of_the_same_fixture", "test_that_trains_itself"}),
        ("test_of_the_shared_training or test_of_seeds", set()),
    ],
)
def test_who_trains_without_the_marker_fails(tmp_path: Path, chosen: str, failing: set[str]) -> None:
    package = tmp_path / "torch/optim"
    package.mkdir(parents=True)
    for file, text in {
        tmp_path / "conftest.py": CONFTEST,
        tmp_path / "test_made.py": TESTS,
        package.parent / "__init__.py": "",
        package / "__init__.py": "",
        package / "optimizer.py": OPTIMIZER,
    }.items():
        file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--seed-offset=2", "-k", chosen, str(tmp_path)]
    ours = {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT))), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | ours, capture_output=True, text=True, check=False
    )
    summary = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    assert {line.split("::")[1].split()[0] for line in summary} == failing, done.stdout + done.stderr
    assert ("mark it with pytest.mark.trains" in done.stdout) is bool(failing)
