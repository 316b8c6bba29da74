"""The image: small, without rights, and at work where it can write its data and a scratch space alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.conftest import torch_index
from tests.support.machine import needs
from tests.support.processes import ROOT

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1800)]

MOST_BYTES = 2_500_000_000
SEALED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
CHECK = """
import os, sys
import torch, torchvision, timm, onnxruntime, s3fs
from core.opentelemetry import exporting
from core.schema import upgrade
assert os.getuid() == 10001
upgrade("sqlite:////data/masktune.db")
try:
    open("/opt/masktune/x", "w")
except OSError:
    print("sealed", sys.flags.dont_write_bytecode)
"""

DOCUMENTS = """
import json, re
from importlib.metadata import distributions
from pathlib import Path
folder = Path("/opt/masktune/share/doc/masktune")
sbom = json.loads((folder / "sbom.cdx.json").read_text())
rows = re.findall(r"^\\| (\\S+) +\\| (\\S+)", (folder / "licences.md").read_text(), re.MULTILINE)
print(json.dumps({
    "format": sbom["bomFormat"],
    "installed": sorted([d.name, d.version] for d in distributions()),
    "components": sorted([c["name"], c["version"]] for c in sbom["components"]),
    "licences": sorted(row for row in rows if row != ("Name", "Version")),
}))
"""


def docker(*words: str) -> str:
    """What it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image() -> str:
    """The tag that the test of `docker compose` builds too: whoever comes second finds it done."""
    needs("docker engine")
    arguments = [f"--build-arg={name}={value}" for name, value in torch_index().items()]
    docker("build", "--quiet", "--tag", "masktune:test", *arguments, ".")
    return "masktune:test"


def test_it_is_small(image: str) -> None:
    (about,) = json.loads(docker("image", "inspect", image))
    assert about["Size"] < MOST_BYTES


def test_it_runs_as_a_number_that_is_not_root(image: str) -> None:
    """Kubernetes' runAsNonRoot takes no name for an answer."""
    (about,) = json.loads(docker("image", "inspect", image))
    assert about["Config"]["User"] == "10001:10001"


def test_it_works_sealed(image: str) -> None:
    said = docker("run", "--rm", *SEALED, "--volume", "/data", image, "python", "-c", CHECK)
    assert said.split() == ["sealed", "1"]


def test_nothing_in_it_was_compiled_by_time(image: str) -> None:
    """A compiled file that names the time of its source differs from one build to the next."""
    code = (
        "import pathlib, sys, core; "
        "flags = [p.read_bytes()[4:8] for p in pathlib.Path(core.__file__).parent.rglob('*.pyc')]; "
        "print(len(flags) > 10, set(flags) == {(1).to_bytes(4, 'little')})"
    )
    assert docker("run", "--rm", *SEALED, image, "python", "-c", code).split() == ["True", "True"]


def test_it_lists_its_components_and_their_licences_and_holds_nothing_that_built_it(image: str) -> None:
    documents = json.loads(docker("run", "--rm", *SEALED, image, "python", "-c", DOCUMENTS))
    assert documents["format"] == "CycloneDX"
    names = {name for name, _ in documents["installed"]}
    assert {"torchvision", "masktune-service", "timm"} <= names
    assert names.isdisjoint({"hatchling", "cyclonedx-bom", "pip-licenses"})
    assert documents["components"] == documents["installed"]
    assert documents["licences"] == documents["installed"]
