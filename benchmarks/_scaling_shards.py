"""What a shard costs beside its computation, measured: its statements, its requests to the store.
Then passes over many shards by many workers, simulated from that event by event.
"""

from __future__ import annotations

import heapq
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._scaling_database import counted
from core.queries import jobs, leases
from core.queries.leases import Lease
from core.session import Database
from core.settings import Settings
from core.slots import ALL_KINDS
from core.storage.artifacts import MARKER, Artifacts
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, Stage
from models.data.importing.datasets import ImportOptions, open_pass
from models.data.importing.remote import RemoteZip
from models.run import OnProgress, ignore_progress
from worker.passes.helper import PassHelper
from worker.passes.shards import LISTING_SHARE, SHARD_IMAGES, Arguments, PassRun, put_shard, shard_key
from worker.protocol import PassBegan, PassSpec
from worker.runtime import Runtime
from worker.supervisor.recorder import record
from worker.supervisor.spare_child import SpareChild

SPREAD = 0.1
"""Standard deviation of the logarithm of a shard's time."""
_PART = "part.npz"
_KIND = "cpu"
_CHILD = f"""
import json, sys
sys.stdin.readline()
for order in map(json.loads, sys.stdin):
    if order.get("opened"):
        print(json.dumps({{"type": "pass_opened", "kind": "{_KIND}"}}), flush=True)
    for number in order.get("numbers", ()):
        print(json.dumps({{"type": "shard_finished", "number": number, "double": False}}), flush=True)
"""
"""A helper's child that computes nothing."""


def _open_pass(database: Database, job: JobRow, shards: int) -> None:
    spec = PassSpec(
        stage=Stage.ERM,
        name="network",
        arguments={"output": "early", "split": "train", "model": "untrained", "axes": None},
        key=f"jobs/{job.id}/work/early-{'0' * 32}",
        title="early stages of train",
        kind=_KIND,
        threads=2,
    )
    began = PassBegan(opened=spec, numbers=tuple(range(shards)))
    with database.begin() as session:
        record(session, Lease(job.id, job.token), began)


class StatementCost(NamedTuple):
    """Of a shard, for the database of a helper, with its slot's look for a queued job."""

    statements: float
    database_ms: float


def statement_cost(url: str, folder: Path, like: str, shards: int) -> StatementCost:
    """A helper and its slot beside a job on the data set of `like`, a job that was really run."""
    settings = Settings(data_dir=folder, database_url=url)
    with closing(Database(url)) as database:
        artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache")
        runtime = Runtime(settings, database, artifacts, child=(sys.executable, "-c", _CHILD))
        with database.begin() as session:
            models = {"model_ids": {"erm": new_id("mdl")}}
            dataset_id = jobs.get(session, like).dataset_id
            jobs.add(
                session,
                JobRow(id=new_id("job"), kind=JobKind.ERM, dataset_id=dataset_id, params={}, inputs=models),
            )
            row = leases.claim(session, worker="another", lease_seconds=600)
        assert row is not None
        _open_pass(database, row, shards + 1)
        with closing(PassHelper(runtime, 0, SpareChild(runtime, enabled=False))) as helper:
            helper.compute_shard(ALL_KINDS)  # its child starts
            with counted(database) as count:
                for _ in range(shards):
                    with database.begin() as session:  # its slot looks for a job; none is queued
                        leases.claim(session, worker="another", lease_seconds=600)
                    helper.compute_shard(ALL_KINDS)
    return StatementCost(count.statements / shards, 1e3 * count.seconds / shards)


class StoreCost(NamedTuple):
    """Of a shard, for the store: milliseconds here, and requests."""

    store: str
    put_ms: float
    """By a helper: it looks whether the shard is there, and puts it."""
    job_ms: float
    """By the job, which puts it, and lists what is there."""
    list_ms: float
    """Of a listing, for each thousand."""
    join_ms: float
    put: float
    job: float
    list: float
    join: float
    join_import: float
    """By an import, which reads each shard three times."""


class _Pass:
    """Computes nothing, and no more than `most` shards."""

    name = title = "nothing"
    arguments: Arguments | None = {}  # noqa: RUF012  # nobody changes it

    def __init__(self, there: int, most: int, part: bytes) -> None:
        self.key, self.most, self.part = "jobs/job_1/work/pass", most, part
        self.sizes: Sequence[int] = [SHARD_IMAGES] * (there + most)

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        for number in islice(numbers, self.most):
            yield number, self.write

    def write(self, folder: Path) -> None:
        (folder / _PART).write_bytes(self.part)


def store_costs(folder: Path, *, there: int, shards: int, shard_bytes: int) -> list[StoreCost]:
    """In a folder and in a server of S3's protocol; so many shards are `there`, and more are computed."""
    from tests.support.object_store import ObjectStore  # needs moto

    requests = Counter[str]()
    server = ObjectStore()
    server.fail(lambda method, _: requests.update([method]))  # it fails none
    os.environ |= server.environment
    part = np.random.default_rng(0).bytes(shard_bytes)
    try:
        return [
            _store_cost(name, Artifacts(url, cache=folder / "cache"), requests, _Pass(there, shards, part))
            for name, url in (("folder", f"file://{folder}/store"), ("S3", "s3://artifacts"))
        ]
    finally:
        server.stop()


def _store_cost(name: str, artifacts: Artifacts, requests: Counter[str], sharded: _Pass) -> StoreCost:
    artifacts.fs.makedirs(artifacts.root, exist_ok=True)
    there = len(sharded.sizes) - sharded.most
    for key in (shard_key(sharded.key, number) for number in range(there)):
        artifacts.fs.makedirs(f"{artifacts.root}/{key}", exist_ok=True)
        for file in (_PART, MARKER):
            artifacts.fs.pipe_file(f"{artifacts.root}/{key}/{file}", b"1")

    def spent(run: Callable[[], object], times: float) -> tuple[float, float]:
        """Milliseconds and requests of each time."""
        requests.clear()
        began = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - began) / times, requests.total() / times

    def put(number: int) -> None:
        artifacts.exists(shard_key(sharded.key, number))
        put_shard(artifacts, sharded.key, number, sharded.write)

    def read(number: int) -> None:
        artifacts.file(shard_key(sharded.key, number), _PART).read_bytes()

    def read_import(number: int) -> None:
        for _ in range(3):
            artifacts.folder(shard_key(sharded.key, number))

    def of_each(run: Callable[[int], None], first: int) -> tuple[float, float]:
        numbers = range(first, first + sharded.most)
        return spent(lambda: deque(map(run, numbers), maxlen=0), sharded.most)

    def compute() -> None:
        PassRun(
            sharded,
            artifacts,
            sharded.key,
            ignore_progress,
            share=lambda _: None,
            should_stop=lambda: False,
        ).run()

    job = spent(compute, sharded.most)
    listed = spent(lambda: artifacts.names(sharded.key), len(sharded.sizes) / 1000)
    costs = (of_each(put, len(sharded.sizes)), job, listed, of_each(read, there))
    _, join_import = of_each(read_import, len(sharded.sizes))
    milliseconds, counts = zip(*costs, strict=True)
    return StoreCost(name, *milliseconds, *counts, join_import)


def opening_ms(archive: Path, images: int, scratch: Path) -> float:
    """CPU milliseconds an image that a helper of an import takes before its first shard, as if the archive
    were in an object store."""

    def read(start: int, stop: int) -> bytes:
        with archive.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    source = RemoteZip(archive.stat().st_size, lambda: archive.open("rb"), read)
    before = os.times()
    open_pass(source, scratch, ImportOptions(), lambda: False)
    return 1e3 * (sum(os.times()[:4]) - sum(before[:4])) / images


# --- a pass, simulated event by event -----------------------------------------------------------


class PassCost(NamedTuple):
    """A pass over many shards, in seconds. Of each shard: `compute`, and `put` by whoever computes it.
    `start` precedes a helper's first shard; `listing` is of all."""

    shards: int
    compute: float
    put: float
    start: float
    listing: float


class SharedPass(NamedTuple):
    """The result of the simulation for one number of workers."""

    seconds: float
    helped: int
    """Shards that helpers put."""


def simulate_pass(cost: PassCost, workers: int, *, seed: int = 0) -> SharedPass:
    """The job, worker 0, and its helpers take one shard after the other, until all are there."""
    rng = np.random.default_rng(seed)
    done, helped = np.zeros(cost.shards), 0
    free = [(0.0, 0), *((cost.start, number) for number in range(1, workers))]
    look_at = 0.0
    for number in range(cost.shards):
        now, worker = heapq.heappop(free)
        helped += worker > 0
        now += cost.put + cost.compute * rng.lognormal(0.0, SPREAD)
        done[number] = now
        if not worker and now >= look_at:
            now += cost.listing
            look_at = now + cost.listing / LISTING_SHARE
        heapq.heappush(free, (now, worker))
    return SharedPass(float(done.max()) + cost.listing, helped)
