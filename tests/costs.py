"""What a run of tests costs in processor seconds, its own and its children's, and in which files.

    1,690 processor seconds, 0.0050 for the reference loop; the costliest files:
      154 tests/integration/worker/test_import_shards.py

The reference loop is the same work everywhere, so that figures of two processors can be compared. With
`BUDGET=540` in its environment a run fails if it costs more than so many seconds of the
processor where budgets were set.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

REFERENCE = 0.005
"""Seconds of `reference_loop` where the budgets of `.ci/run` were set."""
_LOOP_EACH = 0.1
"""Files that cost fewer seconds have no loop of their own, which would be a tenth of them."""
FILES = 10
ROOT = Path(__file__).parents[1]


def processor_seconds() -> float:
    """User and system seconds of this process, its ended children, and the descendants that still run."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages) + _of_running(os.getpid())


def _of_running(parent: int) -> float:
    """Seconds of the running descendants, with those of the children that these have waited for."""
    seconds = 0.0
    for task in Path(f"/proc/{parent}/task").glob("*"):
        with suppress(OSError):  # each may end meanwhile
            for child in map(int, (task / "children").read_text().split()):
                times = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:15]
                seconds += sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + _of_running(child)
    return seconds


def reference_loop() -> float:
    """The processor seconds of a fixed piece of work."""
    start = time.process_time()
    sum(number * number % 7 for number in range(100_000))
    return time.process_time() - start


def summary(seconds: float, loop: float, files: Mapping[str, float] | None = None) -> str:
    """The figures of a run, for people."""
    first = f"{seconds:,.0f} processor seconds, {loop:.4f} for the reference loop"
    if not files:
        return first
    costliest = sorted(files, key=files.__getitem__, reverse=True)[:FILES]
    return "\n".join(
        [f"{first}; the costliest files:", *(f"{files[file]:9,.1f} {file}" for file in costliest)]
    )


def overrun(seconds: float, loop: float) -> str | None:
    """Why the run costs too much, if it has a budget and does."""
    budget = float(os.environ.get("BUDGET", "inf")) * loop / REFERENCE
    return f"over its budget of {budget:,.0f} processor seconds" if seconds > budget else None


class Costs:
    """Adds up what each file costs, in each process of a run and over all of them."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.files: dict[str, float] = defaultdict(float)
        self.processes: list[float] = []
        self.loops = [reference_loop()]
        self.counted: float | None = None

    @property
    def figures(self) -> tuple[float, float]:
        """The seconds of this process and of those that ran tests for it, and of the reference loop."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        seconds = sum(self.processes, own.ru_utime + own.ru_stime) if self.processes else processor_seconds()
        return seconds, statistics.fmean(self.loops)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        before = self.counted or processor_seconds()
        try:
            return (yield)
        finally:
            self.counted = before
            if nextitem is None or nextitem.path != item.path:  # to count takes as long as a small test
                self.counted = processor_seconds()
                self.files[str(item.path.relative_to(ROOT))] += self.counted - before
                if self.counted - before > _LOOP_EACH:
                    self.loops.append(reference_loop())  # what else this machine does slows both

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if costs := getattr(node, "workeroutput", {}).get("costs"):
            for file, seconds in costs["files"].items():
                self.files[file] += seconds
            self.processes.append(costs["seconds"])
            self.loops += costs["loops"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (output := getattr(self.config, "workeroutput", None)) is not None:
            output["costs"] = {
                "files": dict(self.files),
                "seconds": processor_seconds(),
                "loops": self.loops,
            }
        elif overrun(*self.figures) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_line(summary(*self.figures, self.files))
        if over := overrun(*self.figures):
            terminalreporter.write_line(over, red=True)
