"""An import from an object store by one worker, and by two that share its shards."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks._common import ROOT
from core import schema
from core.notifications import JobNotifier
from core.queries import datasets, jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from tests.support.rows import dataset_row
from tests.support.servers import Redis, ServerProcess
from worker.runtime import environment

_PARAMS = {"format": "auto", "options": {}, "seed": 0}
_IDLE_SECONDS, _IDLE_SHARE = 2.0, 0.1
"""A worker is idle, and its children have ended, once it takes less of a core for so long."""


def measure_workers(address: str, folder: Path, count: int, *, images: int) -> dict[str, Any]:
    """The import of what is at this address by so many workers: wall time, and images per CPU second of all
    their processes, without the workers' own start."""
    folder.mkdir()
    with ExitStack() as stack:
        redis = Redis(folder, os.environ, persistent=False)
        redis.start()
        stack.callback(redis.kill)
        settings = Settings(
            data_dir=folder,
            storage_url=f"{address.rpartition('/')[0]}/{folder.name}",
            broker_url=redis.url,
            allowed_sources=address.rpartition("/")[0],
            threads=1,
            spare_children=False,
        )
        schema.upgrade(settings.database)
        database, notifier = Database(settings.database), JobNotifier(settings.broker_url)
        stack.callback(database.close)
        stack.callback(notifier.close)
        command = [sys.executable, "-m", "masktune.cli", "worker"]
        variables = environment(settings) | {"PYTHONPATH": str(ROOT)}
        workers = [ServerProcess(f"worker-{number}", command, variables, folder) for number in range(count)]
        for worker in workers:
            stack.callback(worker.end)
            worker.start()
        before, began = _cpu_when_idle(workers), time.perf_counter()
        job_id = _add_import(database, address)
        notifier.notify(job_id)
        while not (row := _job(database, job_id)).state.ended:
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        assert row.state is JobState.SUCCEEDED, row.error
        spent = _cpu_when_idle(workers) - before
    rate = round(images / spent, 1)
    return {"process": f"{count} on S3", "seconds": round(seconds, 1), "images per CPU second": rate}


def _cpu_when_idle(workers: list[ServerProcess]) -> float:
    """CPU seconds of these processes, and of those they have waited for, once there is nothing to do."""
    used = _cpu(workers)
    while True:
        time.sleep(_IDLE_SECONDS)
        before, used = used, _cpu(workers)
        if used - before < _IDLE_SHARE * _IDLE_SECONDS * len(workers) and not _have_children(workers):
            return used


def _cpu(workers: list[ServerProcess]) -> float:
    return sum(sum(map(int, _stat(worker)[11:15])) for worker in workers) / os.sysconf("SC_CLK_TCK")


def _stat(worker: ServerProcess) -> list[str]:
    """The fields of `/proc/PID/stat` behind the name of the program; 11 to 14 are CPU times."""
    assert worker.process is not None
    return Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()


def _have_children(workers: list[ServerProcess]) -> bool:
    pids = [worker.process.pid for worker in workers if worker.process is not None]
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return any((task / "children").read_text().strip() for task in tasks)


def _add_import(database: Database, address: str) -> str:
    dataset_id, job_id = new_id("ds"), new_id("job")
    row = dataset_row(id=dataset_id, state=DatasetState.IMPORTING, source={"address": address}, job_id=job_id)
    with database.begin() as session:
        datasets.add(session, row)
        jobs.add(session, JobRow(id=job_id, kind=JobKind.IMPORT, dataset_id=dataset_id, params=_PARAMS))
    return job_id


def _job(database: Database, job_id: str) -> JobRow:
    with database.read() as session:
        return jobs.get(session, job_id)
