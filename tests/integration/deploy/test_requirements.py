"""What the image is built of: a version of each dependency, within its range, and the hashes of its files."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "requirements"
CLIENT, SERVICE = (
    tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]
    for path in ("packaging/masktune", ".")
)
OURS = {CLIENT["name"], SERVICE["name"]}
HASHED = ("service.txt", "build.txt")
TORCH = {"torch", "torchvision"}


def entries(name: str) -> list[str]:
    """The requirements of a file with their options, one each."""
    joined = (FOLDER / name).read_text().replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def versions(name: str) -> dict[str, Version]:
    pins = (re.split(r"==|\s", entry) for entry in entries(name))
    return {canonicalize_name(pin[0]): Version(pin[1]) for pin in pins}


def extras_of_the_image() -> list[str]:
    (line,) = (line for line in entries("service.in") if line.startswith(".["))
    return line.removeprefix(".[").removesuffix("]").split(",")


SERVICE_VERSIONS = versions("service.txt")
LOCKED = SERVICE_VERSIONS | versions("torch.txt")
REQUIREMENTS = [
    Requirement(line)
    for line in [
        *CLIENT["dependencies"],
        *SERVICE["dependencies"],
        *(line for extra in extras_of_the_image() for line in SERVICE["optional-dependencies"][extra]),
    ]
]


@pytest.mark.parametrize(
    "requirement",
    [requirement for requirement in REQUIREMENTS if requirement.name not in OURS],
    ids=lambda requirement: requirement.name,
)
def test_a_dependency_is_locked_within_its_range(requirement: Requirement) -> None:
    """When this fails: make lock"""
    name = canonicalize_name(requirement.name)
    assert name in LOCKED
    assert requirement.specifier.contains(LOCKED[name], prereleases=True)


@pytest.mark.parametrize("name", HASHED)
def test_every_locked_version_has_hashes(name: str) -> None:
    pin = re.compile(r"[a-z0-9][a-z0-9.-]*==[^ ]+( +--hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries(name) if not pin.fullmatch(entry)] == []
    assert entries(name)


def test_pytorch_alone_has_no_hash() -> None:
    assert set(versions("torch.txt")) == TORCH
    assert TORCH.isdisjoint(SERVICE_VERSIONS)


@pytest.mark.parametrize("name", sorted(TORCH))
def test_what_pytorch_depends_on_is_locked(name: str) -> None:
    """The image installs it apart from PyTorch, whose own index has not every version of it."""
    requirements = [Requirement(line) for line in metadata.requires(name) or ()]
    needed = {r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})}
    assert {canonicalize_name(one) for one in needed if not one.startswith("nvidia")} <= set(LOCKED)


def test_the_image_without_cuda_gets_no_library_of_it() -> None:
    """They come with PyTorch's own wheels. A lock made without its index (TORCH_INDEX) would name them."""
    assert [name for name in SERVICE_VERSIONS if name.startswith(("nvidia", "cuda", "triton"))] == []


def test_no_version_names_a_build() -> None:
    """`torch==2.13.0` is met by the builds with and without CUDA; `+cpu` would be met by one alone."""
    assert [name for name, version in LOCKED.items() if version.local] == []


def test_distributions_of_this_repository_are_not_locked() -> None:
    """They are installed by path: a locked name would let an index offer a package of the same name."""
    assert OURS.isdisjoint(LOCKED)
    assert {"./packaging/masktune"} <= set(entries("service.in"))


def pip_commands() -> list[str]:
    """What the Dockerfile has pip do, but for its last check."""
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    steps = [line.removeprefix("RUN ") for line in dockerfile.splitlines() if line.startswith("RUN ")]
    commands = [command.strip() for step in steps for command in step.split(" && ")]
    return [command for command in commands if re.search(r"\$INSTALL|pip (install|wheel)", command)]


def test_all_that_the_image_fetches_has_a_hash_but_pytorch() -> None:
    fetching = [command for command in pip_commands() if "--requirement requirements/" in command]
    unhashed = [command for command in fetching if "--require-hashes" not in command]
    assert [command.rpartition("/")[2] for command in unhashed] == ["torch.txt"]
    others = [command for command in pip_commands() if command not in fetching]
    assert all("--no-index" in command or "./packaging/masktune" in command for command in others)


def test_nothing_is_fetched_to_build_a_wheel() -> None:
    """pip would take the newest build tools from the index, without hashes."""
    wheels = [command for command in pip_commands() if "pip wheel" in command]
    assert len(wheels) == 2
    assert all("--no-build-isolation" in command for command in wheels)
    tools = {
        Requirement(line).name
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    }
    assert tools <= set(versions("build.txt"))


def test_the_image_installs_the_distributions_of_this_repository_by_path() -> None:
    (ours,) = (command for command in pip_commands() if command.endswith(" ./packaging/masktune ."))
    assert "--no-deps" in ours


def test_the_lock_is_of_the_image_s_python() -> None:
    (version,) = re.findall(r"PYTHON_IMAGE=python:([\d.]+)-slim\n", (ROOT / "Dockerfile").read_text())
    for name in HASHED:
        assert f"by pip-compile with Python {version}\n" in (FOLDER / name).read_text()
