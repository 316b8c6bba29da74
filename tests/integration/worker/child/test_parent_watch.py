"""A child ends with its supervisor, or with its lease."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

REPO = str(Path(__file__).parents[4])
CHILD = """
import sys, time
from worker.child.pipes import ParentWatch
parent = ParentWatch(0)
sys.stdout.write(parent.first_line().decode()); sys.stdout.flush()
parent.watch()
time.sleep(60)
"""


def start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": REPO},
    )


def tell(child: subprocess.Popen[bytes], text: str) -> None:
    assert child.stdin is not None
    child.stdin.write(text.encode() + b"\n")
    child.stdin.flush()


def test_the_end_of_stdin_ends_the_child() -> None:
    with start() as child:
        tell(child, "spec")
        assert child.stdout is not None
        assert child.stdout.read(4) == b"spec"
        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=60) != 0


def test_a_lease_that_runs_out_ends_the_child() -> None:
    with start() as child:
        tell(child, "spec")
        tell(child, json.dumps({"until": time.monotonic() + 60}))
        assert child.stdout is not None
        assert child.stdout.read(4) == b"spec"
        assert child.poll() is None
        tell(child, json.dumps({"until": time.monotonic() - 1}))
        assert child.wait(timeout=60) != 0
