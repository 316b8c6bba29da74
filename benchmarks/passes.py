"""Passes in shards: how much sooner two workers have the features of photographs than one, and at what cost.

    python -m benchmarks.passes [--images 20000] [--image-size 224] [--work FOLDER]
    python -m benchmarks.passes --whole-job OLD_CHECKOUT [--images 2000]

An `erm` job with the frozen, packaged EfficientNet-Lite0 passes over so many JPEGs of 448 px for features and
early stages: with one worker, then with two, each on a core of its own, beside a redis-server that is started
here. `features_s` counts from the start of the stage until the features are stored, `cpu_s` is that of the
workers and all their processes to the end of the job, `twice` the shards that two of them computed. `apart`
are two such jobs at once, of a worker each: what the cores leave to gain. Exits with 1 if two workers are
less than 1.8 times as fast, or if any byte differs.

`--whole-job` compares this checkout with another, in turn: whole jobs with one worker and no broker. Exits
with 1 if this one has less than 0.98 of the other's speed, or if any byte of the features differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import numpy as np

from benchmarks._common import ROOT, Aim, environment, finish, table, usable_cores, work_folder
from benchmarks._needs import need_checkout, need_programs, refuse
from benchmarks.training import CLASSES, write_photographs
from core import schema
from core.queries import datasets, events, jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import EventType, JobKind, JobState
from models.run import Run, resolve_device
from tests.support.rows import dataset_row
from tests.support.servers import Redis

FASTER, AS_FAST = 1.8, 0.98
_HELD_OUT = 64
_WORKERS = 2
_LOOK_SECONDS = 0.2


class Measured(NamedTuple):
    """Of one job: seconds until its features are stored and to its end, CPU seconds, the shards that were
    computed twice, and the digest of every file of features by name."""

    features_s: float
    job_s: float
    cpu_s: float
    twice: int
    digests: dict[str, str]


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--whole-job", type=Path, metavar="OLD_CHECKOUT")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    need_checkout(arguments.whole_job, "--whole-job")
    need_programs("taskset", *([] if arguments.whole_job else ["redis-server"]))
    if not arguments.whole_job and usable_cores() < _WORKERS:
        refuse(f"this needs {_WORKERS} cores")
    with work_folder(arguments.work) as folder:
        store = folder.resolve() / f"store-{arguments.images}"
        if not store.exists():
            labels = np.arange(arguments.images + _HELD_OUT, dtype=np.int64) % len(CLASSES)
            write_photographs(store, labels, held_out=_HELD_OUT)
        # A new one for each call, whose logs stay there: an earlier call's would have the results already.
        runs = Path(mkdtemp(prefix="run-", dir=folder.resolve()))
        return (_whole_jobs if arguments.whole_job else _workers)(runs, store, arguments)


def _workers(folder: Path, store: Path, arguments: argparse.Namespace) -> int:
    with ExitStack() as stack:
        redis = Redis(folder, os.environ, persistent=False)
        redis.start()
        stack.callback(redis.kill)
        one, two = (
            _measure(folder / f"workers-{count}", store, arguments, workers=count, broker=redis.url)
            for count in (1, _WORKERS)
        )
    with ProcessPoolExecutor() as pool:  # Alembic takes no second thread
        apart = [
            pool.submit(_measure, folder / f"apart-{core}", store, arguments, workers=1, first_core=core)
            for core in range(_WORKERS)
        ]
        first, other = (job.result() for job in apart)
    ratio = one.features_s / two.features_s
    aims = {"two_over_one": Aim(round(ratio, 3), at_least=FASTER), "equal": _equal(one.digests, two.digests)}
    measured = {"one worker": one, "two workers": two, "apart": first, "apart, the other": other}
    machine = 2 * one.features_s / max(first.features_s, other.features_s)
    return _finish(measured, aims, arguments, apart_over_one=round(machine, 3))


def _whole_jobs(folder: Path, store: Path, arguments: argparse.Namespace) -> int:
    measured: dict[str, Measured] = {}
    ratios = []
    for number in range(arguments.rounds):
        pair = {}
        for name, checkout in (("before", arguments.whole_job.resolve()), ("after", ROOT)):
            place = folder / f"{name}-{number}"
            pair[name] = _measure(place, store, arguments, workers=1, checkout=checkout)
        measured |= {f"{name} {number}": one for name, one in pair.items()}
        ratios.append(pair["before"].job_s / pair["after"].job_s)
    before, after = pair["before"].digests, pair["after"].digests
    of_before = {name: digest for name, digest in after.items() if name in before}  # the later may keep more
    aims = {
        "after_over_before": Aim(round(float(np.median(ratios)), 3), at_least=AS_FAST),
        "equal": _equal(before, of_before),
    }
    return _finish(measured, aims, arguments)


def _equal(one: Mapping[str, str], other: Mapping[str, str]) -> Aim:
    return Aim(float(one == other and bool(one)), at_least=1.0)


def _finish(
    measured: Mapping[str, Measured], aims: dict[str, Aim], arguments: argparse.Namespace, **more: float
) -> int:
    rows = [
        {"run": name, **{k: v for k, v in one._asdict().items() if k != "digests"}}
        for name, one in measured.items()
    ]
    print(table(rows))
    run = Run(resolve_device("cpu"))
    return finish("passes", run, rows=rows, aims=aims, images=arguments.images, **more)


def _measure(
    folder: Path,
    store: Path,
    arguments: argparse.Namespace,
    *,
    workers: int,
    first_core: int = 0,
    broker: str = "",
    checkout: Path = ROOT,
) -> Measured:
    folder.mkdir()
    own = {"DATA_DIR": str(folder), "THREADS": "1", "DEVICE": "cpu", "BROKER_URL": broker}
    settings = Settings(data_dir=folder, broker_url=broker)
    schema.upgrade(settings.database)
    database = Database(settings.database)
    dataset_id, job_id = _add(database, folder, store, arguments.image_size)
    features = folder / "artifacts" / "features" / dataset_id
    started, stored = time.monotonic(), 0.0
    cores = range(first_core, first_core + workers)
    with _running(folder, environment(**own), cores, checkout) as usage:
        while not (job := _job(database, job_id)).state.ended:
            if not stored and list(features.glob("*-train")):
                stored = time.monotonic()
            if job.stage is None:
                started = time.monotonic()
            time.sleep(_LOOK_SECONDS)
        ended = time.monotonic()
    if job.state is not JobState.SUCCEEDED:
        raise RuntimeError(f"the job ended {job.state}: {job.error}; see {folder}/worker.log")
    twice = (folder / "worker.log").read_text().count("was computed twice") + _doubles(database, job_id)
    return Measured(
        round(stored - started, 1), round(ended - started, 1), round(sum(usage), 1), twice, _digests(features)
    )


def _add(database: Database, folder: Path, store: Path, image_size: int) -> tuple[str, str]:
    """Queue the job on a data set whose files are links to those of the store."""
    dataset_id, job_id = new_id("ds"), new_id("job")
    shutil.copytree(store, folder / "artifacts" / "datasets" / dataset_id, copy_function=os.link)
    params = Hyperparameters.from_json(
        {
            "backbone": "timm/tf_efficientnet_lite0",
            "pretrained": True,
            "freeze_backbone": True,
            "image_size": image_size,
            "epochs": 1,
        }
    )
    row = dataset_row(id=dataset_id, artifact=f"datasets/{dataset_id}", classes=list(CLASSES))
    with database.begin() as session:
        datasets.add(session, row)
        inputs = {"dataset": dataset_id, "model_ids": {"erm": new_id("mdl")}}
        jobs.add(
            session,
            JobRow(
                id=job_id, kind=JobKind.ERM, dataset_id=dataset_id, params=params.to_json(), inputs=inputs
            ),
        )
    return dataset_id, job_id


@contextmanager
def _running(
    folder: Path, variables: Mapping[str, str], numbers: Sequence[int], checkout: Path
) -> Iterator[list[float]]:
    """A worker of this checkout on each of these cores while the block runs; then their CPU seconds, with
    those of the processes that they have waited for."""
    cores, usage = sorted(os.sched_getaffinity(0)), list[float]()
    processes = []
    with (folder / "worker.log").open("ab") as log:
        for number in numbers:
            command = ["taskset", "-c", str(cores[number]), sys.executable, "-m", "masktune.cli", "worker"]
            path = {"PYTHONPATH": str(checkout)}
            processes.append(
                subprocess.Popen(command, cwd=checkout, env={**variables, **path}, stdout=log, stderr=log)
            )
    try:
        yield usage
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            _, _, used = os.wait4(process.pid, 0)
            usage.append(used.ru_utime + used.ru_stime)


def _job(database: Database, job_id: str) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)


def _doubles(database: Database, job_id: str) -> int:
    """The shards that the job's own process had computed when they were there already."""
    with database.read() as session:
        rows = events.page(session, job_id, after=0, limit=10_000)
    lines = [str(e.data["message"]) for e in rows if e.type == EventType.LOG]
    return sum(int(line.split(" of them by both")[0].split()[-1]) for line in lines if "by both" in line)


def _digests(folder: Path) -> dict[str, str]:
    """Of each file of features; the name of an artifact begins with a digest of what it is of."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


if __name__ == "__main__":
    sys.exit(main())
