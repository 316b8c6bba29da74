"""The versions that the image is built of: one for each dependency of pyproject.toml, within its range."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from deploy.lock import EXTRAS, OURS

ROOT = Path(__file__).parents[3]
CLIENT, SERVICE = (tomllib.loads((path / "pyproject.toml").read_text())["project"] for path in OURS.values())
REQUIREMENTS = [
    Requirement(line)
    for line in [
        *CLIENT["dependencies"],
        *SERVICE["dependencies"],
        *(line for extra in EXTRAS.split(",") for line in SERVICE["optional-dependencies"][extra]),
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


@pytest.mark.parametrize(
    "requirement",
    [requirement for requirement in REQUIREMENTS if requirement.name not in OURS],
    ids=lambda requirement: requirement.name,
)
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


def test_distributions_of_this_repository_are_not_locked() -> None:
    """They are installed by path: a constraint would let an index offer a package of the same name."""
    assert (CLIENT["name"], SERVICE["name"]) == tuple(OURS)
    assert set(OURS).isdisjoint(LOCKED)


def test_the_image_installs_the_distributions_of_this_repository_by_path() -> None:
    """Without dependencies, and the layer of dependencies leaves out the one that the service pins."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "pip install --no-deps ./packaging/masktune . " in dockerfile
    assert "if not d.startswith('masktune==')" in dockerfile
    (pinned,) = (requirement for requirement in REQUIREMENTS if requirement.name in OURS)
    assert str(pinned).startswith("masktune==")


def test_the_image_has_the_extras_that_are_locked() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for extra in EXTRAS.split(","):
        assert f"*e['{extra}']" in dockerfile
