"""The cost per image of an import: time, bytes of the packed store, and memory that grows with the number."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


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


def measure(folder: Path, *, images: int, side: int, kind: str) -> ImportCost:
    """Write an archive of that many different images, and import it in a separate process."""
    archive = folder / f"{images}-{side}.zip"
    write_archive(archive, images=images, side=side, kind=kind)
    command = [sys.executable, "-m", "benchmarks._scaling_images", str(archive), str(folder / archive.stem)]
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


def main(archive: Path, target: Path) -> None:
    """Runs in the process that is measured."""
    from models.data.importing.datasets import import_dataset
    from models.data.store import Store

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
    return _status("VmHWM")


def resident_mib() -> float:
    return _status("VmRSS")


def _status(name: str) -> float:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
