"""Both distributions as wheels, in environments that hold nothing else of ours.

The client's dependencies are fetched from the package registry. The service's, some gigabytes, are lent by
the environment of the tests through a path file; that they install is what the test of the image shows.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.docs_service import NOTEBOOK
from tests.support.docs.pages import blocks
from tests.support.environments import Environment, new_environment
from tests.support.processes import ROOT, Processes, address, started
from web.text.manual import DOCS

pytestmark = [pytest.mark.dist, pytest.mark.slow]

SOURCES = {"masktune": ROOT / "packaging" / "masktune", "masktune-service": ROOT}
PACKAGES = {
    "masktune": ("masktune",),
    "masktune-service": ("app", "worker", "models", "core", "launcher", "web", "presets"),
}
MANUAL = (".md", ".png", ".jpg")
"""Of the documentation, what the dashboard shows."""
MOST_BYTES = 45_000_000
"""Of the light client with its dependencies, installed and compiled."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each distribution, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, *SOURCES.values()], check=True)
    built = {path.name.partition("-")[0].replace("_", "-"): path for path in folder.iterdir()}
    assert set(built) == set(SOURCES)
    return built


@pytest.fixture(scope="module")
def light(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The client with its dependencies, and nothing else."""
    environment = new_environment(tmp_path_factory.mktemp("light") / "env")
    environment.install(wheels["masktune"])
    return environment


@pytest.fixture(scope="module")
def service(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Both wheels; what others made comes from the environment of the tests."""
    environment = new_environment(tmp_path_factory.mktemp("service") / "env")
    environment.install("--no-deps", "--no-index", *wheels.values())
    lent = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    (environment.site_packages / "lent.pth").write_text(lent)
    return environment


@pytest.fixture
def installed(service: Environment, tmp_path: Path) -> Iterator[Processes]:
    """Starts the command of the wheels, in a folder that is not the repository."""
    with started(Processes(tmp_path, (str(service.folder / "bin/masktune"),), pythonpath="")) as processes:
        yield processes


@pytest.mark.parametrize("name", SOURCES)
def test_a_wheel_holds_every_file_of_its_packages(wheels: dict[str, Path], name: str) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES[name]
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    if name == "masktune-service":
        expected |= {f"web/{path.relative_to(ROOT)}" for path in DOCS.rglob("*.*") if path.suffix in MANUAL}
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = {entry for entry in wheel.namelist() if ".dist-info/" not in entry}
        licences = [entry for entry in wheel.namelist() if entry.endswith("licenses/LICENSE")]
    assert names == expected
    assert len(licences) == 1


def test_the_demo_runs_from_the_wheels(service: Environment, installed: Processes, tmp_path: Path) -> None:
    for package in (*PACKAGES["masktune"], *PACKAGES["masktune-service"]):
        place = service.run(
            "python", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path
        ).stdout
        assert Path(place).is_relative_to(service.folder)
    demo = installed.masktune("demo", "--output", "out")
    output, _ = demo.communicate()
    assert demo.returncode == 0, output
    assert "MaskTune helped." in output
    assert "</html>" in (tmp_path / "out/report.html").read_text()


def test_the_light_client_is_small_and_has_nothing_of_the_service(light: Environment) -> None:
    files = [path for path in light.site_packages.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    heavy = {"torch", "numpy", "fastapi", "sqlalchemy", "celery", "PIL", *PACKAGES["masktune-service"]}
    assert heavy.isdisjoint(path.name for path in light.site_packages.iterdir())


def test_every_name_of_the_light_client_is_there(light: Environment, tmp_path: Path) -> None:
    code = "import masktune; print(len([getattr(masktune, name) for name in masktune.__all__]))"
    done = light.run("python", "-c", code, cwd=tmp_path)
    assert done.stderr == ""
    assert int(done.stdout) > 40


def test_a_command_of_the_service_says_what_to_install(light: Environment, tmp_path: Path) -> None:
    done = light.run("masktune", "serve", "--port", "8000", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    version = light.run("masktune", "--version", cwd=tmp_path).stdout.strip()
    remedy = f"install masktune-service {version} from where masktune came"
    assert done.stderr == f"masktune: serve is part of the service: {remedy}\n"
    assert "The service" not in light.run("masktune", "--help", cwd=tmp_path).stdout


def test_programs_and_notebooks_need_the_light_client_alone(
    light: Environment, installed: Processes, tmp_path: Path
) -> None:
    """The example program, then the notebook of docs/how-to/python.md, against the service of the wheels."""
    url = address(installed.masktune("serve", "--port", "0", "--data-dir", "var"))
    subprocess.run([sys.executable, ROOT / "examples/painted_digits.py", "squares"], cwd=tmp_path, check=True)
    example = str(ROOT / "examples/certified_answer.py")
    done = light.run("python", example, "--folder", "squares", cwd=tmp_path, MASKTUNE_URL=url)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "squares/looks.png") as picture:
        assert picture.format == "PNG"

    models = light.run(
        "masktune", "models", "list", "--arm", "masktune", "--json", cwd=tmp_path, MASKTUNE_URL=url
    )
    model = models.stdout.split('"id": "')[1].partition('"')[0]
    light.run("masktune", "models", "alias", "digits", model, cwd=tmp_path, MASKTUNE_URL=url)
    (tmp_path / "IPython").mkdir()
    (tmp_path / "IPython/__init__.py").touch()
    (tmp_path / "IPython/display.py").write_text(NOTEBOOK)
    *_, notebook = (block for block in blocks(ROOT / "docs/how-to/python.md") if block.language == "python")
    program = notebook.commands[0].text.partition("\n")[2].rpartition("\n")[0]
    done = light.run("python", "-c", program, cwd=tmp_path, MASKTUNE_URL=url)
    assert (done.returncode, done.stdout) == (0, "HTML\nImage\nSVG\n"), done.stderr
