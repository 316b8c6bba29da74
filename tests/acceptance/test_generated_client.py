"""A client that a generator makes of the OpenAPI document, in an environment that has nothing of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.demo.digits_zip import write_zip
from tests.support.environments import new_environment
from tests.support.processes import ROOT, Processes, address

pytestmark = [pytest.mark.dist, pytest.mark.slow]

GENERATOR = "openapi-python-client==0.29.*"
CONFIG = ROOT / "examples/openapi-python-client.yaml"


def test_a_generated_client_runs_the_tutorial(processes: Processes, tmp_path: Path) -> None:
    service = address(processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var")))
    environment = new_environment(tmp_path / "environment")
    environment.install(GENERATOR)
    document = f"{service}/openapi.json"
    package = environment.site_packages / "masktune_api"
    generated = environment.run(
        "openapi-python-client",
        *("generate", "--url", document, "--config", str(CONFIG), "--meta", "none"),
        *("--output-path", str(package), "--fail-on-warning"),
        cwd=tmp_path,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    assert "WARNING" not in generated.stdout + generated.stderr
    write_zip(tmp_path / "digits.zip")
    program = Path(__file__).with_name("generated_client.py")
    flow = environment.run("python", str(program), service, str(tmp_path / "digits.zip"), cwd=tmp_path)
    assert flow.returncode == 0, flow.stdout + flow.stderr
