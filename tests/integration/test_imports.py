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
    "masktune.cli.main",
    "worker.supervisor.supervisor",
    "worker.slots",
    "app.main",
)


def test_what_must_start_quickly_imports_no_torch() -> None:
    script = f"""
import importlib, sys
for name in {QUICK}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, f"{{name}} imports torch"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
