"""Imports: what an image costs, and an upload beside a running training.

    python -m benchmarks.imports [--images 2400] [--side 448] [--backbone resnet18]

The same archive is imported alone, then while a training on it runs. `peak MiB` is the most that the
processes of a job had in memory together, with shared libraries and mapped files. Ends with one JSON line;
exits with 1 if the import beside the training takes more than four times as long as alone. Then the stage of
an import job reads the archive by range from an object store, whose own work is not counted; and so do one
worker and two, which share the shards: with two, an image may not cost much more CPU time. Then two workers
import it apart, at once: what the cores leave to gain. `--only-s3` leaves out the training.

`measure_alone` imports in a process of its own, for `benchmarks.scaling`: `--into FOLDER ARCHIVE`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import numpy as np
from PIL import Image

from benchmarks._common import Aim, finish, served, table
from benchmarks._import_workers import measure_workers
from benchmarks._needs import need_packages, need_programs
from core.settings import Settings
from masktune import Client, Dataset
from masktune.contract.ids import new_id
from masktune.contract.job_params import ImportParams
from models.data.importing.datasets import import_dataset
from models.data.store import Store
from models.run import Run, resolve_device
from tests.support.import_context import import_context
from worker.child_process import MARK
from worker.protocol import DatasetSpec
from worker.stages.import_ import import_

MOST = 4.0
TWO_OVER_ONE = 0.85
_READ_SECONDS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description="An upload beside a running training.")
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--only-s3", action="store_true")
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("archive", type=Path, nargs="?", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.address:
        import_from(arguments.address, arguments.into)
        return 0
    if arguments.into:
        import_alone(arguments.archive, arguments.into)
        return 0
    need_packages("moto", "s3fs")
    need_programs("redis-server")
    rows, aims = list[dict[str, Any]](), dict[str, Aim]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "photographs.zip"
        write_archive(archive, images=arguments.images, side=arguments.side, kind="JPEG")
        if not arguments.only_s3:
            with served(folder, DEVICE="cpu", SPARE_CHILDREN="0") as address, Client(address) as client:
                rows = measure(client, archive, folder / "data", arguments.backbone)
            ratio = round(rows[1]["seconds"] / rows[0]["seconds"], 1)
            aims["beside_over_alone"] = Aim(ratio, at_most=MOST)
        with in_object_store(archive) as address:
            on_s3 = measure_on_s3(address, folder / "s3")
            workers = [
                measure_workers(address, folder / f"workers-{count}", count, images=arguments.images)
                for count in (1, 2)
            ]
            with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
                apart = [
                    pool.submit(measure_workers, address, folder / f"apart-{n}", 1, images=arguments.images)
                    for n in (0, 1)
                ]
                workers += [job.result() | {"process": "1 beside another"} for job in apart]
    one, two, *of_apart = (row["images per CPU second"] for row in workers)
    aims["two_workers_over_one"] = Aim(round(two / one, 2), at_least=TWO_OVER_ONE)
    for part in filter(None, (rows, [on_s3], workers)):
        print(table(part))
    run = Run(resolve_device("cpu"))
    return finish(
        "imports",
        run,
        rows=rows,
        aims=aims,
        images=arguments.images,
        on_s3=on_s3,
        workers=workers,
        apart_over_one=round(sum(of_apart) / 2 / one, 3),
    )


def measure(client: Client, archive: Path, data: Path, backbone: str) -> list[dict[str, Any]]:
    """A row for each process: the import alone, the import beside the training, the training."""
    with peaks_of_jobs(data) as peaks:
        dataset, alone_seconds = timed_import(client, archive)
        (alone,) = peaks.values()
        peaks.clear()
        job = client.jobs.start("erm", dataset=dataset.id, backbone=backbone, pretrained=False, epochs=1000)
        while not (client.jobs.get(job.id).progress.step or 0):
            time.sleep(_READ_SECONDS)
        (training,) = peaks
        _, beside_seconds = timed_import(client, archive)
        if client.jobs.get(job.id).state != "running":
            raise RuntimeError("the training ended before the import")
        client.jobs.cancel(job.id)
        (beside,) = (peak for mark, peak in peaks.items() if mark != training)
    return [
        {"process": "import alone", "seconds": round(alone_seconds, 1), "peak MiB": round(alone)},
        {"process": "import beside it", "seconds": round(beside_seconds, 1), "peak MiB": round(beside)},
        {"process": f"training ({backbone})", "seconds": None, "peak MiB": round(peaks[training])},
    ]


def timed_import(client: Client, archive: Path) -> tuple[Dataset, float]:
    """The data set, and the seconds from its upload until it is ready."""
    started = time.perf_counter()
    dataset = client.datasets.wait(client.datasets.upload(archive).id)
    return dataset, time.perf_counter() - started


@contextmanager
def in_object_store(archive: Path) -> Iterator[str]:
    """The address of the archive in a server of S3's protocol (moto, in this process)."""
    from tests.support.object_store import ObjectStore  # needs moto

    store = ObjectStore()
    os.environ |= store.environment
    try:
        fs = fsspec.filesystem("s3")
        fs.mkdir("sources")
        fs.put_file(str(archive), f"sources/{archive.name}")
        yield f"s3://sources/{archive.name}"
    finally:
        store.stop()


def measure_on_s3(address: str, folder: Path) -> dict[str, Any]:
    """The import of the archive at this address by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.imports", "--address", address, "--into", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"process": "import from S3"} | figures


def import_from(address: str, folder: Path) -> None:
    """Runs in the process that is measured."""
    dataset = DatasetSpec(new_id("ds"), "photographs", {"address": address}, None, ())
    settings = Settings(data_dir=folder, allowed_sources=address.rpartition("/")[0])
    context = import_context(settings, dataset, ImportParams())
    used, began = cpu_seconds(), time.perf_counter()
    done = import_(replace(context, on_progress=lambda _: None))
    seconds, spent = time.perf_counter() - began, cpu_seconds() - used
    count = len(Store.open(context.artifacts.folder(str(done.artifact))))
    print(
        json.dumps(
            {
                "images": count,
                "seconds": round(seconds, 1),
                "images per CPU second": round(count / spent, 1),
            }
        )
    )


@contextmanager
def peaks_of_jobs(data: Path) -> Iterator[dict[bytes, float]]:
    """The peak memory (MiB) of each job's processes with this data folder, by their mark, while it runs."""
    peaks: dict[bytes, float] = {}
    done = threading.Event()

    def read() -> None:
        while not done.wait(_READ_SECONDS):
            resident: defaultdict[bytes, float] = defaultdict(float)
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended, or is another user's
                    if (mark := mark_of(process, data)) is not None:
                        resident[mark] += _status_mib("VmRSS", process)
            for mark, mib in resident.items():
                peaks[mark] = max(mib, peaks.get(mark, 0.0))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def mark_of(process: Path, data: Path) -> bytes | None:
    """What the processes of one job have in common; None for all others."""
    environment = dict(line.partition(b"=")[::2] for line in (process / "environ").read_bytes().split(b"\0"))
    ours = environment.get(b"MASKTUNE_DATA_DIR") == str(data).encode()
    return environment.get(MARK.encode()) if ours else None


def _status_mib(name: str, process: Path) -> float:
    memory = re.search(rf"^{name}:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    return 0.0 if memory is None else int(memory[1]) / 1024


class ImportCost(NamedTuple):
    """The cost of one import. `peak_mib` is the process's, beyond its peak once everything was loaded."""

    images: int
    side: int
    archive_bytes: int
    images_per_second: float
    cpu_ms_per_image: float
    """CPU time of the process and its children; other work on the machine hardly changes it."""
    store_bytes: int
    peak_mib: float
    open_mib: float
    """What a training keeps in memory of the store, besides the memory-mapped pixels."""


def measure_alone(folder: Path, *, images: int, side: int, kind: str) -> ImportCost:
    """Write an archive of that many different images, and import it in a separate process."""
    archive = folder / f"{images}-{side}.zip"
    write_archive(archive, images=images, side=side, kind=kind)
    command = [sys.executable, "-m", "benchmarks.imports", "--into", str(folder / archive.stem), str(archive)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    return ImportCost(images, side, archive.stat().st_size, **figures)


def write_archive(path: Path, *, images: int, side: int, kind: str) -> None:
    """Two classes of smooth, noisy images, whose JPEGs are as large as those of photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC)) for c in coarse]
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(images):
            pixels = smooth[number % 64].copy()
            pixels += rng.integers(0, 16, pixels.shape, dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, kind)
            archive.writestr(f"{'ab'[number % 2]}/{number}.{kind.lower()}", buffer.getvalue())


def import_alone(archive: Path, target: Path) -> None:
    """Runs in the process that is measured."""
    before, used, began = peak_mib(), cpu_seconds(), time.perf_counter()
    report = import_dataset(archive, target)
    seconds = time.perf_counter() - began
    assert report.state == "ready", report
    imported, resident = peak_mib(), resident_mib()
    store = Store.open(target)
    assert len(store.sizes) == report.count
    print(
        json.dumps(
            {
                "images_per_second": report.count / seconds,
                "cpu_ms_per_image": 1e3 * (cpu_seconds() - used) / report.count,
                "store_bytes": sum(p.stat().st_size for p in target.rglob("*") if p.is_file()),
                "peak_mib": imported - before,
                "open_mib": max(0.0, resident_mib() - resident),
            }
        )
    )


def cpu_seconds() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def peak_mib() -> float:
    """This program's peak; getrusage's would include that of the program that started it."""
    return _status_mib("VmHWM", Path("/proc/self"))


def resident_mib() -> float:
    return _status_mib("VmRSS", Path("/proc/self"))


if __name__ == "__main__":
    sys.exit(main())
