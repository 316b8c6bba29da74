"""An upload beside a running training: how long its import takes, and the memory of both processes.

    python -m benchmarks.import_beside_training [--images 2400] [--side 448] [--backbone resnet18]

The same archive is imported alone, then while a training on it runs. `peak MiB` is the most that the
processes of a job had in memory together, with shared libraries and mapped files. Ends with one JSON line;
exits with 1 if the import beside the training takes more than four times as long as alone.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks._common import Aim, finish, served, table
from benchmarks._scaling_images import write_archive
from masktune import Client, Dataset
from models.run import Run, resolve_device
from worker.child_process import MARK

MOST = 4.0
_READ_SECONDS = 0.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2400)
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--backbone", default="resnet18")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "photographs.zip"
        write_archive(archive, images=arguments.images, side=arguments.side, kind="JPEG")
        with served(folder, DEVICE="cpu") as address, Client(address) as client:
            rows = measure(client, archive, folder / "data", arguments.backbone)
    print(table(rows))
    ratio = round(rows[1]["seconds"] / rows[0]["seconds"], 1)
    aims = {"beside_over_alone": Aim(ratio, at_most=MOST)}
    run = Run(resolve_device("cpu"))
    return finish("import_beside_training", run, rows=rows, aims=aims, images=arguments.images)


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
def peaks_of_jobs(data: Path) -> Iterator[dict[bytes, float]]:
    """The peak memory (MiB) of each job's processes with this data folder, by their mark, while it runs."""
    peaks: dict[bytes, float] = {}
    done = threading.Event()

    def read() -> None:
        while not done.wait(_READ_SECONDS):
            resident: defaultdict[bytes, float] = defaultdict(float)
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended, or is another user's
                    if (mark := _mark(process, data)) is not None:
                        resident[mark] += _resident_mib(process)
            for mark, mib in resident.items():
                peaks[mark] = max(mib, peaks.get(mark, 0.0))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _mark(process: Path, data: Path) -> bytes | None:
    """What the processes of one job have in common; None for all others."""
    environment = dict(line.partition(b"=")[::2] for line in (process / "environ").read_bytes().split(b"\0"))
    ours = environment.get(b"MASKTUNE_DATA_DIR") == str(data).encode()
    return environment.get(MARK.encode()) if ours else None


def _resident_mib(process: Path) -> float:
    resident = re.search(r"^VmRSS:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
    return 0.0 if resident is None else int(resident[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
