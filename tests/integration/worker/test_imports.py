"""Which packages the processes of a worker load: torch alone takes a second, as long as a small import."""

from __future__ import annotations

import subprocess
import sys

import pytest

# That the child of no other job needs sqlalchemy, `make imports` says but for one import, which is here.
CHILD_OF_AN_IMPORT = """
import core.storage.reports, worker.child.process, worker.child.runner
from masktune.contract.vocabulary import Stage
from worker.child.runner import stage_function
stage_function(Stage.IMPORT)
"""


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import worker.main", {"torch", "numpy", "celery", "kombu", "opentelemetry"}),
        (CHILD_OF_AN_IMPORT, {"torch", "torchvision", "sklearn", "sqlalchemy"}),
    ],
    ids=["a worker without broker and traces", "the child of an import"],
)
def test_it_loads_only_what_it_needs(code: str, heavy: set[str]) -> None:
    code += f"\nimport sys; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
