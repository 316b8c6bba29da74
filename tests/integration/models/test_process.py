"""The first thing a training process does, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from models.process import prepare_process
print(prepare_process(2))
import torch
print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled() or torch.cuda.is_available())
"""


def test_a_prepared_process_has_the_threads_asked_for_and_repeats_itself() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "2", "True"]
