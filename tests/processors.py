"""Runs the tests that train as other processors compute, and with other seeds: `make test-processors`.

    level    threads  offset   passed  failed  skipped  seconds  of processors
    default        1  0           211       0        1      118            109

No outcome may hang on the processor that happens to be here. Each run has the instructions of one level in
torch, oneDNN, MKL, OpenBLAS and numpy, a number of threads, and seeds shifted by an offset. The names
of failing tests stand below its line; the last line is JSON.

    python -m tests.processors --levels default --threads 1 --offsets 0 -- -x

What stands behind `--` goes to pytest. `--docs` also runs the tests of the documentation, once for each level
and number of threads: its commands have the seeds that the pages show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

ROOT = Path(__file__).parents[1]
TRAINS = "trains and not faults"
"""Those of `faults` only compare a training that was killed with one that was not."""
DOCS = "docs"


class Level(NamedTuple):
    """What a generation of processors computes with. `flags` are those of /proc/cpuinfo that it takes.

    `variables` keep the libraries to it. numpy is told what it may not use: features whose names begin with
    one of `newer`.
    """

    flags: frozenset[str]
    variables: dict[str, str]
    newer: tuple[str, ...]


def _variables(*, aten: str, onednn: str, mkl: str, openblas: str) -> dict[str, str]:
    return {
        "ATEN_CPU_CAPABILITY": aten,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "MKL_ENABLE_INSTRUCTIONS": mkl,  # torch's products of matrices, and so every fit of a head
        "OPENBLAS_CORETYPE": openblas,
    }


LEVELS = {
    "default": Level(
        frozenset(), _variables(aten="default", onednn="SSE41", mkl="SSE4_2", openblas="Nehalem"), ("",)
    ),
    "avx2": Level(
        frozenset({"avx2", "fma"}),
        _variables(aten="avx2", onednn="AVX2", mkl="AVX2", openblas="Haswell"),
        ("AVX512", "X86_V4"),
    ),
    "avx512": Level(
        frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
        _variables(aten="avx512", onednn="AVX512_CORE", mkl="AVX512", openblas="SkylakeX"),
        (),
    ),
}
"""From the oldest to the newest."""


class Run(NamedTuple):
    """The tests with this marker, once."""

    level: str
    threads: int
    offset: int
    marker: str

    @property
    def name(self) -> str:
        return f"{self.level}-{self.threads}-{DOCS if self.marker == DOCS else self.offset}"


class Outcome(NamedTuple):
    """`failed` are the names of tests; `processor_seconds` those of a run and of all that it started."""

    run: Run
    passed: int
    failed: list[str]
    skipped: int
    seconds: float
    processor_seconds: float


def levels_here() -> list[str]:
    """Those that this processor has."""
    if platform.machine() != "x86_64":
        raise SystemExit("NOT RUN: the levels are those of x86-64 processors")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    here = next(set(line.partition(":")[2].split()) for line in lines if line.startswith("flags"))
    return [name for name, level in LEVELS.items() if level.flags <= here]


def environment(level: Level, threads: int) -> dict[str, str]:
    """The variables of a run, besides those that are there."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]  # by names that change with numpy's version
    disabled = [name for name in simd["found"] if name.startswith(level.newer)]
    # Threads that spin while they wait took six times the processor time on cores that others shared.
    threaded = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    return level.variables | threaded | {"NPY_DISABLE_CPU_FEATURES": " ".join(disabled)}


def outcome_of(run: Run, arguments: Sequence[str], folder: Path) -> Outcome:
    """Run the tests; `folder` receives their results and what pytest prints."""
    results, log = folder / f"{run.name}.xml", folder / f"{run.name}.log"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", run.marker, f"--seed-offset={run.offset}"]
    variables = environment(LEVELS[run.level], run.threads)
    started, before = time.monotonic(), _processor_seconds()
    with log.open("w") as output:
        code = subprocess.run(
            [*command, f"--junitxml={results}", *arguments],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    seconds = time.monotonic() - started, _processor_seconds() - before
    tests, failed, skipped = _counts(results) if results.exists() else (0, [], 0)
    passed = tests - len(failed) - skipped
    if code and not failed:
        failed = [f"pytest ended with {code}: {log}"]
    return Outcome(run, passed, failed, skipped, *seconds)


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _counts(results: Path) -> tuple[int, list[str], int]:
    """How many tests there were, the names of those that failed, how many were skipped."""
    tests: dict[str, set[str]] = {}  # a test that fails, and fails again at its end, is there twice
    for case in ET.parse(results).getroot().iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        tests.setdefault(name, set()).update(part.tag for part in case)
    failed = [name for name, tags in tests.items() if tags & {"failure", "error"}]
    return len(tests), failed, sum(tags == {"skipped"} for tags in tests.values())


def runs(options: argparse.Namespace) -> Iterator[Run]:
    for level in options.levels:
        for threads in options.threads:
            yield from (Run(level, threads, offset, TRAINS) for offset in options.offsets)
            if options.docs:
                yield Run(level, threads, 0, DOCS)


def line_of(outcome: Outcome) -> str:
    run, seconds = outcome.run, f"{outcome.seconds:7.0f}  {outcome.processor_seconds:13.0f}"
    numbers = f"{outcome.passed:6}  {len(outcome.failed):6}  {outcome.skipped:7}  {seconds}"
    return f"{run.level:8} {run.threads:7}  {DOCS if run.marker == DOCS else run.offset!s:6}  {numbers}"


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.processors")
    here, cores = levels_here(), len(os.sched_getaffinity(0))
    parser.add_argument("--levels", nargs="+", choices=here, default=here, help="those of this processor")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--offsets", nargs="+", type=int, default=[0, 1, 2], help="to shift the seeds by")
    parser.add_argument("--docs", action="store_true", help="also the tests of the documentation")
    parser.add_argument("--processes", type=int, default=cores, help="that share the tests of a run")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/processors", help="for what pytest says")
    parser.add_argument("pytest", nargs="*", help="behind --")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    several = [f"--numprocesses={options.processes}", "--dist=loadfile", "--no-loadscope-reorder"]
    extra = [*(several if options.processes > 1 else ()), *options.pytest]
    print("level    threads  offset  passed  failed  skipped  seconds  of processors")
    outcomes = []
    for run in runs(options):
        outcomes.append(outcome_of(run, extra, options.folder))
        failed = [f"    {name}" for name in outcomes[-1].failed]
        print(line_of(outcomes[-1]), *failed, sep="\n", flush=True)
    print(json.dumps([outcome._asdict() | {"run": outcome.run._asdict()} for outcome in outcomes]))
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
