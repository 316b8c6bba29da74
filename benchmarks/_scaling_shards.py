"""What a shard costs beside its computation, measured: its message on Redis, its statements, its requests to
the store. Then passes over many shards by many workers, simulated from that event by event.
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
from redis import Redis as RedisClient

from benchmarks._scaling_database import counted
from core.notifications import SHARD_QUEUE, JobNotifier
from core.queries import jobs, leases
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import MARKER, Artifacts
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, Stage
from models.data.importing.datasets import ImportOptions, open_pass
from models.data.importing.remote import RemoteZip
from models.run import ignore_progress
from tests.support.servers import Redis, wait_for_port
from tests.support.waits import wait_until
from worker.passes.helper import PassHelper
from worker.passes.shards import (
    LISTING_SHARE,
    SHARD_IMAGES,
    Arguments,
    OnProgress,
    compute_missing,
    compute_shard,
    shard_key,
)
from worker.runtime import Runtime
from worker.shard_tasks import PassSpec, ShardTask
from worker.slots import work
from worker.supervisor.spare_child import SpareChild

SPREAD = 0.1
"""Standard deviation of the logarithm of a shard's time."""
_PART = "part.npz"
_KIND = "cpu"
_CHILD = f"""
import json, sys
sys.stdin.readline()
print(json.dumps({{"type": "pass_opened", "kind": "{_KIND}"}}), flush=True)
for order in map(json.loads, sys.stdin):
    if "shard" in order:
        number = order["shard"]["number"]
        print(json.dumps({{"type": "shard_finished", "number": number, "double": False}}), flush=True)
"""
"""A helper's child that computes nothing."""


def _tasks(job_id: str, token: int, count: int) -> list[ShardTask]:
    spec = PassSpec(
        stage=Stage.ERM,
        pass_name="network",
        arguments={"output": "early", "split": "train", "model": "untrained", "axes": None},
        key=f"jobs/{job_id}/work/early-{'0' * 32}",
        title="early stages of train",
        kind=_KIND,
        threads=2,
    )
    return [ShardTask(job_id=job_id, token=token, sharded=spec, number=number) for number in range(count)]


class BrokerCost(NamedTuple):
    """Of a message that offers a shard: milliseconds of its client, and bytes of Redis."""

    publish_ms: float
    take_ms: float
    put_back_ms: float
    """By a worker whose slots are all busy, about once a second."""
    commands: float
    """That Redis executes until it is taken."""
    bytes: float


def broker_cost(folder: Path, messages: int) -> BrokerCost:
    redis = Redis(folder, os.environ, persistent=False)
    redis.start()
    try:
        wait_for_port(redis.port, "Redis")
        with closing(JobNotifier(redis.url)) as notifier, closing(RedisClient.from_url(redis.url)) as client:
            return _broker_cost(notifier, client, messages)
    finally:
        redis.kill()


def _broker_cost(notifier: JobNotifier, client: RedisClient, messages: int) -> BrokerCost:
    tasks = [task.to_json() for task in _tasks(new_id("job"), 1, messages)]
    before, began = client.info(), time.perf_counter()
    notifier.offer_shards(tasks)
    wait_until(lambda: client.llen(SHARD_QUEUE) == messages)
    publish, published = time.perf_counter() - began, client.info()
    assert notifier.celery is not None
    with notifier.celery.connection_for_read() as connection, connection.SimpleQueue(SHARD_QUEUE) as queue:
        began = time.perf_counter()
        for _ in range(messages // 2):
            queue.get(timeout=10).requeue()
        put_back, began, waiting = time.perf_counter() - began, time.perf_counter(), client.info()
        for _ in range(messages):
            queue.get(timeout=10).ack()
        take = time.perf_counter() - began
    return BrokerCost(
        1e3 * publish / messages,
        1e3 * take / messages,
        2e3 * put_back / messages,
        (client.info()["total_commands_processed"] - waiting["total_commands_processed"]) / messages,
        (published["used_memory"] - before["used_memory"]) / messages,
    )


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
        first, *tasks = _tasks(row.id, row.token, shards + 1)
        with closing(PassHelper(runtime, 0, SpareChild(runtime, enabled=False))) as helper:
            helper.compute(first)  # its child starts
            with counted(database) as count:
                for task in tasks:
                    work(runtime)
                    helper.compute(task)
    return StatementCost(count.statements / shards, 1e3 * count.seconds / shards)


class StoreCost(NamedTuple):
    """Of a shard, for the store: milliseconds here, and requests."""

    store: str
    put_ms: float
    """By a helper: it looks whether the shard is there, claims and puts it."""
    job_ms: float
    """By the job, which claims and puts it, and lists what is there."""
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
        compute_shard(sharded, artifacts, number, attempt="helper")

    def read(number: int) -> None:
        artifacts.file(shard_key(sharded.key, number), _PART).read_bytes()

    def read_import(number: int) -> None:
        for _ in range(3):
            artifacts.folder(shard_key(sharded.key, number))

    def of_each(run: Callable[[int], None], first: int) -> tuple[float, float]:
        numbers = range(first, first + sharded.most)
        return spent(lambda: deque(map(run, numbers), maxlen=0), sharded.most)

    def compute() -> None:
        compute_missing(
            sharded, artifacts, ignore_progress, lambda _: True, attempt="job", should_stop=lambda: False
        )

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
    """A pass over many shards, in seconds. Of each shard: `compute`, `put` by whoever computes it, with its
    claim, and `publish` of its message. `start` precedes a helper's first shard; `listing` is of all."""

    shards: int
    compute: float
    put: float
    publish: float
    start: float
    listing: float


class SharedPass(NamedTuple):
    """The result of the simulation for one number of workers."""

    seconds: float
    helped: int
    """Shards that helpers put."""


def simulate_pass(cost: PassCost, workers: int, *, seed: int = 0) -> SharedPass:
    """The job, worker 0, begins with the last shard and helpers with the first, until all are there."""
    rng = np.random.default_rng(seed)
    done, helped = np.zeros(cost.shards), 0
    free = [(0.0, 0), *((cost.start, number) for number in range(1, workers))]
    first, last, look_at = 0, cost.shards - 1, 0.0
    while first <= last:
        now, worker = heapq.heappop(free)
        number = first if worker else last
        first, last = (first + 1, last) if worker else (first, last - 1)
        if worker:
            now, helped = max(now, number * cost.publish), helped + 1
        now += cost.put + cost.compute * rng.lognormal(0.0, SPREAD)
        done[number] = now
        if not worker and now >= look_at:
            now += cost.listing
            look_at = now + cost.listing / LISTING_SHARE
        heapq.heappush(free, (now, worker))
    return SharedPass(float(done.max()) + cost.listing, helped)
