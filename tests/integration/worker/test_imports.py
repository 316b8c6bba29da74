"""Which packages the processes of a worker load: torch alone takes a second, as long as a small import."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD_OF_AN_IMPORT = """
import worker.child.process, worker.child.runner
from masktune.contract.vocabulary import Stage
from worker.child.runner import stage_function
stage_function(Stage.IMPORT)
"""

CHILD_OF_ANY_OTHER_JOB = """
import worker.child.process
from worker.child.runner import load_stages
load_stages()
"""


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import worker.__main__", {"torch", "numpy", "celery", "kombu", "opentelemetry"}),
        (CHILD_OF_AN_IMPORT, {"torch", "torchvision", "sklearn"}),
        (CHILD_OF_ANY_OTHER_JOB, {"sqlalchemy"}),
    ],
    ids=["a worker without broker and traces", "the child of an import", "the child of any other job"],
)
def test_it_loads_only_what_it_needs(code: str, heavy: set[str]) -> None:
    code += f"\nimport sys; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
