"""What it takes to read the largest honest lists, beside the budget that their bytes give them.

    python -m benchmarks.list_budgets [--images 200000]

Each list names as many images, with a class, a split, a subject and five columns of metadata (COCO and CVAT,
which may have 64 MiB: one column). The budget is that of a zip with the list alone; the images of a real
upload add to it. Memory is address space, as in the budget. Ends with one JSON line; exits with 1 if a list
takes more than half of its seconds or its memory.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._common import Aim, finish, table
from models.data.formats import DatasetFormat, read
from models.data.importing.bounded_reading import reading_budget
from models.run import Run, resolve_device
from models.runtime.bounded import FORK
from tests.support.workbooks import row, shared, workbook

COLUMNS = ("path", "label", "split", "subject", "site", "camera", "age", "note", "taken")
_FEW = COLUMNS[3:5]
HALF = 0.5
_FOLDERS = 100


class ListFormat(NamedTuple):
    """`write` makes the file of the list; `columns` are the names of the metadata there."""

    name: str
    format: DatasetFormat
    write: Callable[[Path, Sequence[Sequence[str]]], None]


class Cost(NamedTuple):
    """What reading took, in a process of its own."""

    seconds: float
    memory: int
    images: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=200_000)
    arguments = parser.parse_args()
    rows, aims = [], {}
    with tempfile.TemporaryDirectory(prefix="masktune-lists-") as name:
        root = Path(name)
        records = list(make_records(arguments.images))
        make_images(root, [record[0] for record in records])
        for each in FORMATS:
            file = root / each.name
            each.write(file, records)
            budget = reading_budget(zipped_size(file))
            cost = measure(root, each.format)
            file.unlink()
            assert cost.images == arguments.images, f"{each.name}: {cost.images} images were read"
            shares = cost.seconds / budget.cpu_seconds, cost.memory / budget.memory
            rows.append(
                {
                    "list": each.name,
                    "seconds": round(cost.seconds, 1),
                    "of": budget.cpu_seconds,
                    "MiB": cost.memory >> 20,
                    "of ": budget.memory >> 20,
                }
            )
            for what, share in zip(("seconds", "memory"), shares, strict=True):
                aims[f"{each.name}_{what}"] = Aim(round(share, 2), at_most=HALF)
    print(table(rows))
    return finish("list_budgets", Run(resolve_device("cpu")), rows=rows, aims=aims)


def make_records(count: int) -> Iterator[Sequence[str]]:
    """A row for each image, as different from the others as those of a hospital or of camera traps are."""
    rng = np.random.default_rng(0)
    for number in range(count):
        site, camera, age = rng.integers(0, (40, 300, 90))
        yield (
            f"images/{number % _FOLDERS:02}/IMG_{rng.integers(1 << 40):010x}_{number:06}.jpg",
            f"class {rng.integers(20):02}",
            ("train", "val", "test")[number % 3],
            f"subject-{rng.integers(count // 4):06}",
            f"site {site:02}",
            f"camera {camera:03}",
            str(age),
            f"seen by observer {rng.integers(1000)} at {rng.integers(1 << 30):08x}",
            f"2025-{1 + number % 12:02}-{1 + number % 28:02}T10:{number % 60:02}:00",
        )


def make_images(root: Path, paths: Sequence[str]) -> None:
    """Empty files: lists are read by the names of files alone."""
    for folder in range(_FOLDERS):
        (root / f"images/{folder:02}").mkdir(parents=True, exist_ok=True)
    for path in paths:
        (root / path).touch()


def zipped_size(file: Path) -> int:
    """Bytes of an upload that is this file alone."""
    archive = file.with_name(f"{file.name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(file, file.name)
    size = archive.stat().st_size
    archive.unlink()
    return size


def measure(root: Path, format: DatasetFormat) -> Cost:
    """What `read` takes beyond what the process has before."""
    with ProcessPoolExecutor(1, mp_context=FORK) as pool:
        return pool.submit(_measure, root, format).result()


def _measure(root: Path, format: DatasetFormat) -> Cost:
    before, began = address_space("VmSize"), time.process_time()
    manifest = read(root, format)
    return Cost(time.process_time() - began, address_space("VmPeak") - before, len(manifest.entries))


def address_space(name: str) -> int:
    """Bytes that the system counts under this name."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


# --- the formats ---


def _csv(file: Path, records: Sequence[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*COLUMNS[:4], *(f"meta:{name}" for name in COLUMNS[4:])])
        writer.writerows(records)


def _workbook(file: Path, records: Sequence[Sequence[str]]) -> None:
    """As Excel writes it: texts are shared, and numbers are not."""
    header = (*COLUMNS[:4], *(f"meta:{name}" for name in COLUMNS[4:]))
    numbers: dict[str, int] = {}
    rows = (
        row(
            number,
            *(
                f'<c r="{letter}{number}"><v>{cell}</v></c>'
                if cell.isdigit()
                else shared(f"{letter}{number}", numbers.setdefault(cell, len(numbers)))
                for letter, cell in zip("ABCDEFGHI", record, strict=True)
            ),
        )
        for number, record in enumerate((header, *records), start=1)
    )
    sheet = "".join(rows)
    file.write_bytes(workbook(sheet, texts="".join(f"<si><t>{escape(text)}</t></si>" for text in numbers)))


def _parquet(file: Path, records: Sequence[Sequence[str]]) -> None:
    names = ("file_name", *COLUMNS[1:])
    pq.write_table(pa.table(dict(zip(names, zip(*records, strict=True), strict=True))), file)


def _coco(file: Path, records: Sequence[Sequence[str]]) -> None:
    classes = sorted({record[1] for record in records})
    numbers = {name: number for number, name in enumerate(classes)}
    document = {
        "info": {"description": "camera traps"},
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "images": [
            {"id": number, "width": 1920, "height": 1080, "file_name": record[0]}
            | dict(zip(_FEW, record[3:], strict=False))
            for number, record in enumerate(records)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": numbers[record[1]],
                "bbox": [number % 997, number % 499, 120.5, 80.25],
                "area": 9670.1,
                "iscrowd": 0,
            }
            for number, record in enumerate(records)
        ],
    }
    file.write_text(json.dumps(document), encoding="utf-8")


def _cvat(file: Path, records: Sequence[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8") as opened:
        opened.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>\n')
        for number, record in enumerate(records):
            attributes = "".join(
                f"    <attribute name={quoteattr(name)}>{cell}</attribute>\n"
                for name, cell in zip(_FEW, record[3:], strict=False)
            )
            opened.write(
                f'  <image id="{number}" name={quoteattr(record[0])} subset="{record[2]}" width="1920" '
                f'height="1080">\n    <tag label={quoteattr(record[1])} source="manual">\n{attributes}'
                "    </tag>\n  </image>\n"
            )
        opened.write("</annotations>\n")


FORMATS = (
    ListFormat("labels.csv", DatasetFormat.CSV, _csv),
    ListFormat("labels.xlsx", DatasetFormat.CSV, _workbook),
    ListFormat("metadata.parquet", DatasetFormat.HUGGING_FACE, _parquet),
    ListFormat("coco.json", DatasetFormat.COCO, _coco),
    ListFormat("annotations.xml", DatasetFormat.CVAT, _cvat),
)


if __name__ == "__main__":
    sys.exit(main())
