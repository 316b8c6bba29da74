"""The import rules: which package may import which, and who may touch torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_packages_import_as_the_rules_say() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout


QUICK = (
    "masktune.client.client",
    "worker.supervisor.supervisor",
    "worker.slots",
    "app.main",
)
HEAVY = (
    "torch",
    "numpy",
    "sqlalchemy",
    "celery",
    "fastapi",
    "app",
    "worker",
    "core",
    "models",
    "masktune.client",
)
SCRIPT = f"""
import importlib, sys
from pathlib import Path

def lacks(what, *names):
    assert not (loaded := set(names) & set(sys.modules)), f"{{what}} imports {{loaded}}"

import masktune.cli.main
lacks("the command", *{HEAVY})
for name in {QUICK}:
    importlib.import_module(name)
    lacks(name, "torch")

from fastapi.testclient import TestClient
from app.main import create_app
from core.settings import Settings
app = create_app(Settings(data_dir=Path(sys.argv[1])))
app.openapi()  # before the front starts, which loads torch by itself ten seconds later
with TestClient(app, "http://localhost") as client:
    assert client.get("/jobs").status_code == 200
    lacks("the front", "torch", "scipy")
"""


def test_what_must_start_quickly_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
