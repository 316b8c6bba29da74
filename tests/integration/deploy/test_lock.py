"""The versions that the image is built of: one for each dependency of pyproject.toml, within its range."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.lock import EXTRAS

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED = [
    Requirement(line)
    for line in [
        *PROJECT["dependencies"],
        *(line for extra in EXTRAS.split(",") for line in PROJECT["optional-dependencies"][extra]),
    ]
]
LOCKED = {
    canonicalize_name(name): Version(version)
    for name, _, version in (
        line.partition("==")
        for line in (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}


@pytest.mark.parametrize("requirement", ASKED, ids=lambda requirement: requirement.name)
def test_a_dependency_is_locked_within_its_range(requirement: Requirement) -> None:
    """When this fails: python3.11 deploy/lock.py"""
    name = canonicalize_name(requirement.name)
    assert name in LOCKED
    assert requirement.specifier.contains(LOCKED[name], prereleases=True)


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_what_pytorch_depends_on_is_locked(name: str) -> None:
    """The image installs it apart from PyTorch, whose own index has not every version of it."""
    wanted = [Requirement(line) for line in metadata.requires(name) or ()]
    needed = {r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert {canonicalize_name(one) for one in needed if not one.startswith("nvidia")} <= set(LOCKED)
    (line,) = (line for line in (ROOT / "Dockerfile").read_text().splitlines() if "--index-url" in line)
    assert "pip install --no-deps " in line


def test_no_version_names_a_build() -> None:
    """`torch==2.13.0` is met by the builds with and without CUDA; `+cpu` would be met by one alone."""
    assert [name for name, version in LOCKED.items() if version.local] == []


def test_the_image_has_the_extras_that_are_locked() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for extra in EXTRAS.split(","):
        assert f"*e['{extra}']" in dockerfile
