"""What breaks first as jobs and images grow:  python -m benchmarks.scaling

Measured on a real PostgreSQL: the cost of one whole job for the database and the disk, and the time of each
query over a long queue and a long history. Measured in separate processes: the cost per image of an import.
Measured in a folder and on S3 (moto): what a shard costs beside its computation. Simulated: how many workers
a day's jobs need, and the load of these on the database; passes over ten million images by many
workers. docs/SCALING.md draws the conclusions.
"""

from __future__ import annotations

import argparse
import heapq
import os
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks._common import Aim, finish, make_run, table
from benchmarks._needs import need_packages, need_programs, need_server
from benchmarks._scaling_database import JobCost, lengthen, own_database, run_jobs, thinning, timings
from benchmarks._scaling_shards import (
    PassCost,
    StatementCost,
    StoreCost,
    opening_ms,
    simulate_pass,
    statement_cost,
    store_costs,
)
from benchmarks.imports import ImportCost, measure_alone
from core.session import Database
from core.settings import Settings
from models.data.importing.shards import SHARD_ENTRIES

SERVER = "postgresql+psycopg://root@127.0.0.1:5432/test"
DAY = 86_400.0
DAYS = (10, 1_000, 100_000)
WAIT_SECONDS = 600.0
MILLIONS = 10_000_000
WORKERS = (1, 10, 100)
FEATURE_BYTES = 5120
"""Of an image, of an EfficientNet-Lite0: 1,280 float32."""
CHILD_SECONDS = 20.0
"""Until a helper's process has torch and the network."""

Rows = list[dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default=os.environ.get("MASKTUNE_DATABASE_URL", SERVER))
    parser.add_argument("--queued", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--ended", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 60_000], help="Small ones.")
    parser.add_argument("--photographs", type=int, default=500, help="JPEGs of 448 × 448.")
    parser.add_argument("--job-minutes", type=float, nargs="+", default=[2.0, 20.0])
    parser.add_argument(
        "--images-per-second", type=float, nargs="+", default=[40.0, 2_000.0], help="A worker's."
    )
    parser.add_argument("--request-ms", type=float, default=30.0, help="Of a request to S3.")
    parser.add_argument(
        "--link-mb", type=float, default=125.0, help="MB a second between a host and the store."
    )
    parser.add_argument("--there", type=int, default=2_000, help="Shards in the store that is measured.")
    arguments = parser.parse_args()
    need_packages("moto", "s3fs")
    need_programs("redis-server")
    need_server(arguments.server)
    run = make_run("cpu", 0, "scaling")
    with tempfile.TemporaryDirectory(prefix="masktune-scaling-") as name:
        folder = Path(name)
        with own_database(arguments.server) as url:
            costs = run_jobs(url, folder / "var", (arguments.epochs, 4 * arguments.epochs))
            _say(
                f"Whole masktune jobs (digits, {arguments.epochs} and {4 * arguments.epochs} epochs)",
                [cost._asdict() for cost in costs],
            )
            statements = statement_cost(url, folder / "var", costs[0].id, shards=100)
            queries = _queries(url, costs[0].id, arguments.queued, arguments.ended)
        images = [measure_alone(folder, images=n, side=28, kind="PNG") for n in sorted(arguments.images)]
        opening = opening_ms(folder / f"{images[-1].images}-28.zip", images[-1].images, folder / "opened")
        images.append(measure_alone(folder, images=arguments.photographs, side=448, kind="JPEG"))
        stores = store_costs(
            folder, there=arguments.there, shards=40, shard_bytes=SHARD_ENTRIES * FEATURE_BYTES
        )
    _say("Imports", [one._asdict() for one in images])
    beside = [statements._asdict() | {"opening_ms_per_image": opening}]
    _say("A shard beside its computation: PostgreSQL; a helper of an import before its first", beside)
    _say("Its requests to the store", [one._asdict() for one in stores])
    longest = queries[-1]
    days = _days(costs, longest, arguments.job_minutes)
    _say(f"Workers so that 95 in 100 jobs wait at most {WAIT_SECONDS / 60:.0f} min (simulated)", days)
    passes = _passes(arguments, images[-1], opening, statements, stores)
    _say(f"{MILLIONS:,} images in shards (simulated)", passes)
    # A quiet machine takes a tenth of these. Without their indexes the first three took 0.2 to 1.2 s.
    aims = {
        "claim_ms": Aim(longest["claim the best"], at_most=50.0),
        "list_ms": Aim(longest["list a page"], at_most=50.0),
        "sweep_ms": Aim(longest["sweep"], at_most=50.0),
        "metrics_ms": Aim(
            longest["count by state (/metrics)"] + longest["oldest that waits (/metrics)"], at_most=500.0
        ),
        "import_memory_gb_at_ten_million": Aim(_growth(images, "peak_mib") * MILLIONS / 1e9, at_most=2.0),
        "store_memory_gb_at_ten_million": Aim(_growth(images, "open_mib") * MILLIONS / 1e9, at_most=2.0),
        # Beside so many that are there, the job lists them at most for a fiftieth of its time.
        "job_over_helper_requests": Aim(stores[-1].job / stores[-1].put, at_most=1.25),
    }
    return finish(
        "scaling",
        run,
        rows=queries,
        aims=aims,
        jobs=[cost._asdict() for cost in costs],
        imports=[one._asdict() for one in images],
        simulated=days,
        beside=beside,
        stores=[one._asdict() for one in stores],
        passes=passes,
    )


def _queries(url: str, job: str, queued: list[int], ended: list[int]) -> Rows:
    """Longer queues behind the shortest history, then longer histories behind the longest queue."""
    sizes = [(n, ended[0]) for n in queued] + [(queued[-1], n) for n in ended[1:]]
    rows: Rows = []
    with closing(Database(url)) as database:
        for waiting, done in sizes:
            lengthen(database, job, queued=waiting, ended=done)
            rows.append({"queued": waiting, "ended": done, **timings(database, Settings(database_url=url))})
        forgotten = thinning(database, job)
    operations = [name for name in rows[0] if name not in ("queued", "ended")]
    _say(
        "Milliseconds of a whole transaction, by queued / ended jobs",
        [
            {"operation": name} | {f"{row['queued']:,} / {row['ended']:,}": row[name] for row in rows}
            for name in operations
        ],
    )
    _say("Events of jobs that ended long ago, thinned out", [forgotten._asdict()])
    return rows


def _growth(images: list[ImportCost], field: str) -> float:
    """Bytes of memory that each additional small image costs: its import (`peak_mib`), or a job that has its
    data set open (`open_mib`)."""
    small = [one for one in images if one.side == images[0].side]
    first, last = small[0], small[-1]
    gained: float = getattr(last, field) - getattr(first, field)
    return gained * 2**20 / (last.images - first.images)


def _passes(
    arguments: argparse.Namespace,
    photographs: ImportCost,
    opening: float,
    statements: StatementCost,
    stores: list[StoreCost],
) -> Rows:
    """Imports of photographs, and features of them at the given rates, by the job and its helpers. On S3 a
    request and a byte cost what the arguments say, and a helper copies the data set first."""
    rows: Rows = []
    image_bytes = photographs.store_bytes / photographs.images
    copying = CHILD_SECONDS + MILLIONS * image_bytes / (1e6 * arguments.link_mb)
    kinds = [("import", 1e3 / photographs.cpu_ms_per_image, image_bytes, 1e-3 * opening * MILLIONS)]
    kinds += [("features", rate, FEATURE_BYTES, copying) for rate in arguments.images_per_second]
    for store in stores:
        for name, rate, width, start in kinds:
            remote = store.store == "S3"
            request = 1e-3 * arguments.request_ms if remote else 0.0
            sent = SHARD_ENTRIES * width / (1e6 * arguments.link_mb)
            join = (store.join_import if name == "import" else store.join) * request + sent
            cost = PassCost(
                shards=-(-MILLIONS // SHARD_ENTRIES),
                compute=SHARD_ENTRIES / rate,
                put=store.put * request + sent,
                start=start if remote or name == "import" else CHILD_SECONDS,
                listing=store.list * 1e-3 * MILLIONS / SHARD_ENTRIES * request,
            )
            alone = 0.0
            for workers in WORKERS:
                shared = simulate_pass(cost, workers)
                whole = cost.start + shared.seconds + join * cost.shards
                alone = alone or whole
                pace = cost.shards / shared.seconds
                rows.append(
                    {
                        "pass": name,
                        "images/s": rate,
                        "store": store.store,
                        "workers": workers,
                        "start h": cost.start / 3600,
                        "shards h": shared.seconds / 3600,
                        "join h": join * cost.shards / 3600,
                        "speed-up": alone / whole,
                        "helped": shared.helped,
                        "statements/s": pace * statements.statements,
                        "requests/s": pace * store.put,
                    }
                )
    return rows


def _days(costs: list[JobCost], query: dict[str, Any], minutes: list[float]) -> Rows:
    """The load on the database of the workers that the simulation finds and one front.

    The cost of a second of training is the difference between the longer and the shorter job.
    """
    rows: Rows = []
    short, long = costs
    per_second = (long.statements - short.statements) / (long.seconds - short.seconds)
    spent = min(cost.database_ms / cost.statements for cost in costs)  # the less disturbed of the two
    events = (long.events - short.events) / (long.seconds - short.seconds)
    growth = (long.events_kept - short.events_kept) / (long.seconds - short.seconds)
    width = long.event_bytes / long.events
    for mean in minutes:
        for jobs in DAYS:
            began = time.perf_counter()
            slots = fewest(Load(jobs, 60 * mean), wait_p95=WAIT_SECONDS)
            sweeps = (slots.workers + 1) / Settings().sweep_seconds
            rows.append(
                {
                    "jobs a day": jobs,
                    "minutes each": mean,
                    "workers": slots.workers,
                    "busy": slots.busy,
                    "wait p95 s": slots.wait_p95,
                    "statements/s": per_second * slots.running_peak,
                    "sweeps/s": sweeps,
                    "connections busy": (per_second * slots.running_peak * spent + sweeps * query["sweep"])
                    / 1e3,
                    "rows a day": round(jobs * (1 + short.events + events * 60 * mean)),
                    "kept a day": round(jobs * (1 + short.events_kept + growth * 60 * mean)),
                    "GB a day": jobs * (short.row_bytes + width * (short.events + events * 60 * mean)) / 1e9,
                    "simulated in s": time.perf_counter() - began,
                }
            )
    return rows


def _say(title: str, rows: Rows) -> None:
    print(f"\n{title}\n\n{table(rows)}", flush=True)


# --- a queue, simulated job by job, for want of a cluster to measure ---------------------------


class Load(NamedTuple):
    """A day of jobs. They arrive at random, three times as often at noon as at midnight; their durations
    are lognormal with the given mean, and `spread` is the standard deviation of the logarithm."""

    jobs_per_day: int
    mean_seconds: float
    spread: float = 1.0


class Queue(NamedTuple):
    """The result of the simulation for one number of workers."""

    workers: int
    busy: float
    """Share of the workers' time."""
    wait_p50: float
    wait_p95: float
    """Both are seconds from queued to claimed."""
    running_peak: int


def simulate(load: Load, workers: int, *, days: int = 7, seed: int = 0) -> Queue:
    """Simulate jobs served oldest first, each by the first worker that is free."""
    rng = np.random.default_rng(seed)
    jobs_count = rng.poisson(load.jobs_per_day * days)
    arrivals = np.sort(_arrivals(rng, jobs_count, days))
    mean = np.log(load.mean_seconds) - load.spread**2 / 2
    durations = rng.lognormal(mean, load.spread, jobs_count)
    free = [0.0] * workers
    waits = np.empty(jobs_count)
    starts = np.empty(jobs_count)
    for number, (arrival, duration) in enumerate(zip(arrivals, durations, strict=True)):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + duration)
        starts[number], waits[number] = start, start - arrival
    changes = np.concatenate([starts, starts + durations])
    order = np.argsort(changes, kind="stable")
    running = np.cumsum(np.repeat([1, -1], jobs_count)[order])
    p50, p95 = np.percentile(waits, [50, 95]) if jobs_count else (0.0, 0.0)
    return Queue(
        workers, float(durations.sum() / (workers * days * DAY)), p50, p95, int(running.max(initial=0))
    )


def fewest(load: Load, *, wait_p95: float) -> Queue:
    """The smallest number of workers, within 1 %, with which 95 in 100 jobs wait at most `wait_p95` s."""
    low, high = 0, max(1, int(load.jobs_per_day * load.mean_seconds / DAY))
    while (simulation := simulate(load, high)).wait_p95 > wait_p95:
        low, high = high, high * 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        tried = simulate(load, middle)
        low, high, simulation = (
            (low, middle, tried) if tried.wait_p95 <= wait_p95 else (middle, high, simulation)
        )
    return simulation


def _arrivals(rng: np.random.Generator, count: int, days: int) -> np.ndarray:
    """Sampled by rejection from a rate of 1 − cos/2 over each day."""
    starts: list[np.ndarray] = []
    missing = count
    while missing > 0:
        at = rng.uniform(0, days * DAY, 2 * missing)
        keep = rng.uniform(0, 1.5, at.size) < 1 - 0.5 * np.cos(2 * np.pi * at / DAY)
        starts.append(at[keep][:missing])
        missing -= starts[-1].size
    return np.concatenate(starts) if starts else np.empty(0)


if __name__ == "__main__":
    raise SystemExit(main())
