"""The start of a job: seconds from its claim to its first progress, with and without a spare child.

    python -m benchmarks.job_start [--plants ZIP] [--runs 5] [--threads 2] [--device cpu|cuda]

Two services, one with `MASKTUNE_SPARE_CHILDREN=0`, import `builtin:biased-digits`, and with `--plants` these
photographs. Then each in turn runs a job on each set (`masktune`, on photographs `mitigate`) until it makes
progress, while no other child of either service is at work. The times are those of the job's events, from
`running` to the first `progress`, which is after the first step, and 0.3 s after a training began at the
soonest. `spare MiB` is the memory of a spare that waits, and `own MiB` what it shares with no other process.
Needs Linux (/proc). Ends with one JSON line; exits with 1 if a start with a spare takes more than 1 s.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks._common import Aim, finish, served, table, work_folder
from benchmarks._needs import need_device, need_path
from benchmarks.imports import mark_of
from masktune import Client, JobNotSucceeded
from masktune.contract.jobs.events import StateData
from masktune.contract.vocabulary import JobState
from models.run import Run

MOST_SECONDS = 1.0
_REST_SECONDS = 1.0


class Side(NamedTuple):
    """A service with or without spare children, and its data sets by the kind of job that they are for."""

    name: str
    spares: int
    data: Path
    client: Client
    datasets: dict[str, str]


def main() -> int:
    arguments = _arguments()
    need_path(arguments.plants, "--plants")
    run = Run(need_device(arguments.device))
    with work_folder(None) as folder, ExitStack() as stack:
        sides = [_started(stack, folder, arguments, name) for name in ("new process", "spare child")]
        starts: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.runs):
            for side in sides:
                for kind in side.datasets:
                    for each in sides:
                        _await_rest(each)
                    starts.setdefault((kind, side.name), []).append(_start(side, kind))
        spare, own = _memory_mib(_await_rest(sides[-1])[0])
    rows = [
        {"job": kind, "in a": name, "median s": statistics.median(s), "fastest": min(s), "slowest": max(s)}
        for (kind, name), s in sorted(starts.items())
    ]
    print(table(rows))
    medians = {kind: statistics.median(starts[kind, "spare child"]) for kind in sides[-1].datasets}
    aims = {f"seconds_to_{kind}": Aim(median, at_most=MOST_SECONDS) for kind, median in medians.items()}
    memory = {"spare MiB": round(spare), "own MiB": round(own)}
    return finish("job_start", run, rows=rows, aims=aims, runs=arguments.runs, memory=memory)


def _started(stack: ExitStack, folder: Path, arguments: argparse.Namespace, name: str) -> Side:
    spares = int(name == "spare child")
    (folder := folder / f"spares-{spares}").mkdir()
    settings = {"DEVICE": arguments.device, "THREADS": str(arguments.threads), "SPARE_CHILDREN": str(spares)}
    client = stack.enter_context(Client(stack.enter_context(served(folder, **settings))))
    datasets = {"masktune": client.datasets.from_source("builtin:biased-digits").id}
    if arguments.plants:
        datasets["mitigate"] = client.datasets.upload(arguments.plants).id
    for dataset in datasets.values():
        client.datasets.wait(dataset)
    return Side(name, spares, folder / "data", client, datasets)


def _start(side: Side, kind: str) -> float:
    """Seconds from the claim of a new job to its first progress; the job has ended when this returns."""
    job = side.client.jobs.start(kind, dataset=side.datasets[kind])
    claimed_at = None
    for event in side.client.jobs.events(job.id):
        if isinstance(event.data, StateData) and event.data.state is JobState.RUNNING:
            claimed_at = event.at
        if event.type == "progress" and claimed_at is not None:
            break
    else:
        raise RuntimeError(f"the job {job.id} ended before it made progress")
    side.client.jobs.cancel(job.id)
    with suppress(JobNotSucceeded):
        side.client.jobs.wait(job.id)
    return (event.at - claimed_at).total_seconds()


def _await_rest(side: Side) -> list[Path]:
    """Wait until the service has as many children as it keeps while idle and none has done anything for a
    second; return their folders in /proc."""
    before: dict[Path, list[str]] = {}
    while True:
        now = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if mark_of(process, side.data) is not None:
                    fields = (process / "stat").read_text().rpartition(")")[2].split()
                    now[process] = [fields[0], *fields[11:13]]  # state, and the ticks of user and system time
        if len(now) == side.spares and now == before and all(state == "S" for state, *_ in now.values()):
            return list(now)
        before = now
        time.sleep(_REST_SECONDS)


def _memory_mib(process: Path) -> tuple[float, float]:
    """A process's memory, and the part that it shares with no other."""
    rollup = (process / "smaps_rollup").read_text()
    kib = {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.MULTILINE)}
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, help="an archive of photographs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
