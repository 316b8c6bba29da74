"""The child of an import loads only what an import needs."""

from __future__ import annotations

import subprocess
import sys


def test_the_child_of_an_import_loads_no_torch() -> None:
    """It takes a second, as long as a small import itself."""
    code = """
import sys
import worker.child.process, worker.child.runner
from masktune.contract.vocabulary import Stage
from worker.child.runner import stage_function
stage_function(Stage.IMPORT)
print({"torch", "torchvision", "sklearn"} & set(sys.modules) or "none")
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "none"
