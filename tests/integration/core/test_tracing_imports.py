"""A process that traces nothing loads nothing of it."""

from __future__ import annotations

import subprocess
import sys


def test_a_process_that_traces_nothing_loads_nothing_of_it() -> None:
    code = "import sys, core.tracing, worker.slots; print([m for m in sys.modules if 'opentelemetry' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
