"""The first thing a training process does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from models.runtime.process import limit_spinning

SCRIPT = """
from models.runtime.process import prepare_process
print(prepare_process(2))
import os, torch
print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled() or torch.cuda.is_available(),
      os.environ["OMP_WAIT_POLICY"])
"""


def test_a_prepared_process_has_the_threads_asked_for_and_repeats_itself() -> None:
    ours = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=ours
    )
    assert done.stdout.split() == ["2", "2", "True", "passive"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "passive 2000"),
        ({"GOMP_SPINCOUNT": "7"}, "passive 7"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
    ],
    ids=["ours", "own count", "own policy"],
)
def test_threads_spin_briefly_unless_the_environment_says_otherwise(
    given: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    monkeypatch.setattr(
        os, "environ", {name: text for name, text in os.environ.items() if name not in names} | given
    )
    limit_spinning()
    assert [str(os.environ.get(name)) for name in names] == expected.split()
