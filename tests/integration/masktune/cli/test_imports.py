"""The command starts without what it does not need."""

from __future__ import annotations

import subprocess
import sys


def test_the_command_starts_without_what_it_does_not_need() -> None:
    heavy = (
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
    code = f"import sys, masktune.cli.main; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
