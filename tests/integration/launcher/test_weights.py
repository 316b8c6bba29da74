"""`masktune weights add`: what it prints, and its exit code."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from masktune.cli.main import app
from models.backbones.build import build_network

ADD = ["weights", "add", "--backbone", "squeezenet1_1"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of SqueezeNet that are not the published ones."""
    path = tmp_path_factory.mktemp("saved") / "fetched.pth"
    torch.save(dict(build_network("squeezenet1_1", classes=1000, image_size=64).model.state_dict()), path)
    return path


@pytest.fixture
def file(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy; torch hub's cache is empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return Path(shutil.copy(saved, tmp_path))


def test_it_prints_where_the_weights_are_and_what_they_are(file: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, [*ADD, str(file)])
    assert outcome.exit_code == 0, outcome.output
    first, second, third, fourth = outcome.stdout.splitlines()
    (added,) = (tmp_path / "hub/checkpoints").iterdir()
    assert first == f"jobs with `pretrained` now start squeezenet1_1 from {added}"
    assert second == f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert third == "licence unknown"
    assert fourth.startswith("This is another file than the one that the library publishes")


def test_a_licence_that_is_stated_is_printed_without_its_control_characters(file: Path) -> None:
    outcome = CliRunner().invoke(app, [*ADD, "--license", "MIT \x1b[31m", str(file)])
    assert "licence MIT \\x1b[31m\n" in outcome.stdout


def test_a_refusal_is_one_line(file: Path) -> None:
    file.write_bytes(b"<!DOCTYPE html>")
    outcome = CliRunner().invoke(app, [*ADD, str(file)])
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(
        "masktune: fetched.pth cannot be read as a file of tensors: it is damaged"
    )
    assert len(outcome.stderr.splitlines()) == 1
