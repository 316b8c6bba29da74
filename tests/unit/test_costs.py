"""What a run of tests costs, and when that is too much."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.costs import REFERENCE, overrun, processor_seconds, summary

BUSY = "import time\nwhile time.process_time() < 0.1: pass\nprint(flush=True)\ninput()"


@pytest.mark.parametrize("budget", ["inf", "100"])
def test_a_budget_grows_with_the_reference_loop(budget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGET", budget)
    cases = [(101, REFERENCE), (99, REFERENCE), (199, 2 * REFERENCE), (201, 2 * REFERENCE)]
    over = [overrun(seconds, loop) is not None for seconds, loop in cases]
    assert over == ([False] * 4 if budget == "inf" else [True, False, False, True])


def test_children_count_while_they_run_and_when_they_have_ended() -> None:
    before = processor_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processor_seconds() - before > 0.08
        child.communicate(b"\n")
    assert processor_seconds() - before > 0.08


def test_the_costliest_files_come_first() -> None:
    files = {f"test_{number}.py": float(number) for number in range(12)}
    first, *lines = summary(66.0, REFERENCE, files).splitlines()
    assert first == f"66 processor seconds, {REFERENCE:.4f} for the reference loop; the costliest files:"
    assert [line.split() for line in lines] == [[f"{n}.0", f"test_{n}.py"] for n in range(11, 1, -1)]
