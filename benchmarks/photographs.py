"""From the upload of biased photographs to the report of `mitigate`, beside a plain script and in memory.

    python -m benchmarks.photographs [--plants ZIP] [--threads 2] [--old CHECKOUT] [--large 20000]

ZIP has Waterbirds' layout (`benchmarks.photographs_plain` names the columns): 2,400 photographs of 128 px to
train on, 1,800 to validate and test. A service starts on an empty folder; the set is uploaded and mitigated
without its groups, then mitigated with another seed; then the script does the same work on the same archive,
without a report. `speed_of_same_work` leaves out on both sides what only one of them does or what it does
elsewhere: the import, the report, and the features of the test split, which the service computes for its
report. With `--old`, the service of another checkout does both jobs as well, before this one.

With `--large`, two more services mitigate folders of that many photographs of 300 px and of twice as many,
shifted and tinted copies of those to train on: the job's memory (anonymous, so without the page cache) on
both gives the slope, and what 100,000 would take. The smaller set says nothing of that: the pooled stages of
the first 4,096 training images are kept whole until their principal directions are known. Needs Linux
(/proc). Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks._common import Aim, environment, finish, leave_on_sigterm, running_service, table, work_folder
from benchmarks._needs import need_checkout, need_path
from masktune import Client, Job
from models.run import Run

MOST_SECONDS, MOST_SECONDS_AGAIN, MOST_SECONDS_OF_REPORT, LEAST_SPEED = 180.0, 45.0, 8.0, 0.95
MOST_OVER_OLD, MOST_AGAIN_OVER_OLD = 0.85, 0.6
MANY, MOST_GIB = 100_000, 2.0
_CHILD = "worker.child.process"
_EARLIER = ("erm", "retrain_head", "head_control")
"""The stages before the report that do what the script does."""
_POLL_SECONDS = 0.1
_SIDE = 300  # pixels of a photograph of the larger sets


class Mitigation(NamedTuple):
    """A job: its seconds from the upload or the request to the report, those of its stages, and the largest
    anonymous memory, in GiB, of its process and of all others of the service."""

    seconds: float
    stages: dict[str, float]
    job_gib: float
    service_gib: float


def main() -> int:
    arguments = _arguments()
    need_path(arguments.plants, "--plants")
    need_checkout(arguments.old, "--old")
    leave_on_sigterm()
    with work_folder(None) as folder:
        before = two_jobs(folder / "old", arguments, arguments.old) if arguments.old else None
        first, again = two_jobs(folder / "small", arguments)
        plain, plain_seconds = run_script(arguments.plants, arguments.threads)
        small, large = count(arguments.plants), dict[int, Mitigation]()
        for images in (arguments.large, 2 * arguments.large) if arguments.large else ():
            enlarge(arguments.plants, folder / f"{images}.zip", images)
            with service(folder / f"{images}", arguments.threads) as client:
                started = time.perf_counter()
                large[images] = mitigate(client, upload(client, folder / f"{images}.zip"), started, seed=0)
    rows = [
        *(row(f"{what} (old)", small, job) for what, job in zip(_JOBS, before or (), strict=False)),
        *(row(what, small, job) for what, job in zip(_JOBS, (first, again), strict=True)),
        {"what": "script", "images": small, "seconds": plain_seconds} | dict.fromkeys(_FIGURES[1:]),
    ]
    work = sum(first.stages[stage] for stage in _EARLIER)
    script_work = sum(plain["seconds"].values()) - plain["seconds"]["test features"]
    aims = {
        "seconds": Aim(first.seconds, at_most=MOST_SECONDS),
        "seconds_of_another_seed": Aim(again.seconds, at_most=MOST_SECONDS_AGAIN),
        "seconds_of_report": Aim(first.stages["evaluate"], at_most=MOST_SECONDS_OF_REPORT),
        "speed_of_same_work": Aim(script_work / work, at_least=LEAST_SPEED),
    }
    if before:
        aims["over_old"] = Aim(first.seconds / before[0].seconds, at_most=MOST_OVER_OLD)
        aims["another_seed_over_old"] = Aim(again.seconds / before[1].seconds, at_most=MOST_AGAIN_OVER_OLD)
    if large:
        rows.extend(row("upload to report", images, job) for images, job in large.items())
        (fewer, some), (more, most) = large.items()
        slope = (most.job_gib - some.job_gib) / (more - fewer)
        aims["gib_at_100000"] = Aim(most.job_gib + slope * (MANY - more), at_most=MOST_GIB)
    print(table(rows))
    figures = {"speed_with_report": plain_seconds / first.seconds, "stages": first.stages, "script": plain}
    return finish("photographs", Run(torch.device("cpu")), rows=rows, aims=aims, **figures)


_JOBS = ("upload to report", "another seed")
_FIGURES = ("seconds", "evaluate", "job GiB", "service GiB")


def row(what: str, images: int, job: Mitigation) -> dict[str, Any]:
    figures = (job.seconds, job.stages["evaluate"], job.job_gib, job.service_gib)
    return {"what": what, "images": images} | dict(zip(_FIGURES, figures, strict=True))


# --- the service --------------------------------------------------------------------------------


def two_jobs(
    folder: Path, arguments: argparse.Namespace, checkout: Path | None = None
) -> tuple[Mitigation, Mitigation]:
    """Both jobs, by the service of this or another checkout."""
    with service(folder, arguments.threads, checkout) as client:
        started = time.perf_counter()
        dataset = upload(client, arguments.plants)
        first = mitigate(client, dataset, started, seed=0)
        return first, mitigate(client, dataset, time.perf_counter(), seed=1)


@contextmanager
def service(folder: Path, threads: int, checkout: Path | None = None) -> Iterator[Client]:
    """A service on an empty folder, which finds no network to fetch anything from."""
    folder.mkdir()
    settings = {"THREADS": str(threads), "DEVICE": "cpu"}
    env = environment(DATA_DIR=str(folder / "data"), **settings)
    if checkout is not None:
        env["PYTHONPATH"] = str(checkout.resolve())
    with running_service(folder, "masktune.cli", env) as url, Client(url) as client:
        yield client


def upload(client: Client, archive: Path) -> str:
    """Upload and import; return the id of the data set."""
    dataset = client.datasets.upload(archive)
    client.datasets.wait(dataset.id)
    return dataset.id


def mitigate(client: Client, dataset: str, started: float, *, seed: int) -> Mitigation:
    """Run the job on inferred groups, which the script infers too, and read its report."""
    with memory_of_descendants() as peaks:
        queued = client.jobs.start("mitigate", dataset=dataset, seed=seed, groups="early_stages")
        job = client.jobs.wait(queued.id)
        report = client.jobs.report(job.id)
    _check(job)
    stages = {cost.stage.value: cost.seconds or 0.0 for cost in report.cost}
    return Mitigation(time.perf_counter() - started, stages, peaks[True], peaks[False])


def _check(job: Job) -> None:
    if job.state != "succeeded":
        raise RuntimeError(f"the job has {job.state}: {job.error}")


@contextmanager
def memory_of_descendants() -> Iterator[dict[bool, float]]:
    """The largest anonymous memory in GiB, of a job's process (True) and of all others of ours (False)."""
    peaks: dict[bool, float] = defaultdict(float)
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_SECONDS):
            now: dict[bool, float] = defaultdict(float)
            for is_job, gib in _anonymous_memory():
                now[is_job] += gib
            for is_job, gib in now.items():
                peaks[is_job] = max(peaks[is_job], gib)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _anonymous_memory() -> Iterator[tuple[bool, float]]:
    """(whether it is a job's process, GiB) of each process that descends from this one."""
    parents: dict[int, int] = {}
    memory: dict[int, tuple[bool, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            command = (folder / "cmdline").read_text()
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(lines["PPid"])
        memory[int(folder.name)] = _CHILD in command, int(lines.get("RssAnon", "0 kB").split()[0]) / 2**20
    for pid, of_process in memory.items():
        ancestor = parents[pid]
        while ancestor in parents and ancestor != _OURSELVES:
            ancestor = parents[ancestor]
        if ancestor == _OURSELVES:
            yield of_process


_OURSELVES = int(Path("/proc/self").resolve().name)


# --- the script, and the photographs -------------------------------------------------------------


def run_script(archive: Path, threads: int) -> tuple[dict[str, Any], float]:
    """The JSON line of the script, and the seconds of its process."""
    command = [sys.executable, "-m", "benchmarks.photographs_plain", str(archive), "--threads", str(threads)]
    # Two threads of OpenBLAS wait for each other in the small products of the fits: 72 s instead of 4.
    settings = environment() | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    started = time.perf_counter()
    output = subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout
    line: dict[str, Any] = json.loads(output.splitlines()[-1])
    return line, time.perf_counter() - started


def count(archive: Path) -> int:
    return len(_metadata(archive))


def _metadata(archive: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(archive) as pack:
        return list(csv.DictReader(io.StringIO(pack.read("metadata.csv").decode())))


def enlarge(archive: Path, target: Path, images: int) -> None:
    """Write an archive of so many photographs of 300 px, a folder for each class: those to train on, again
    and again, every time shifted and tinted anew.

    Their order is random, so that few of them have all classes too.
    """
    rng = np.random.default_rng(0)
    lines = [line for line in _metadata(archive) if line["split"] == "0"]  # Waterbirds' number of train
    rng.shuffle(lines)
    with zipfile.ZipFile(archive) as pack, zipfile.ZipFile(target, "w") as pack_of_copies:
        for number in range(images):
            line = lines[number % len(lines)]
            image = Image.open(io.BytesIO(pack.read(line["img_filename"]))).convert("RGB")
            pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
            shifted = np.roll(pixels, tuple(rng.integers(-20, 21, 2)), (0, 1))
            tinted = (shifted * rng.uniform(0.9, 1.1, 3)).clip(0, 255).astype(np.uint8)
            jpeg = io.BytesIO()
            Image.fromarray(tinted).save(jpeg, "JPEG", quality=90)
            pack_of_copies.writestr(f"class {line['y']}/{number:06d}.jpg", jpeg.getvalue())


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, default=Path("../shared/data/stampplants.zip"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--old", type=Path, help="another checkout of this project, measured first")
    parser.add_argument("--large", type=int, help="photographs of a larger set; another has twice as many")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
