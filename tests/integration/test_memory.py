"""Each process that works with images keeps its memory before it has a second thread: later is too late."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.machine import needs

SCRIPT = """
import os, sys
from models.runtime import process

def noted():
    print("kept with threads:", len(os.listdir("/proc/self/task")), flush=True)
    os._exit(0)

process.keep_freed_memory = noted
sys.argv = sys.argv[1:]
"""
STARTS = {
    "api": ("from masktune.cli.main import main; main()", ["masktune", "api", "--tied"]),
    "job": ("from worker.child.process import main; main()", ["child"]),
}


@pytest.mark.parametrize("start", STARTS)
def test_memory_is_kept_before_there_is_a_second_thread(start: str) -> None:
    needs("glibc")
    code, arguments = STARTS[start]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + code, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split("kept with threads: ")[1].strip() == "1", done.stderr
