"""The dashboard with much in it: how long a page takes to show what it is for.

    python -m benchmarks.dashboard [--jobs 1000] [--images 100000] [--visits 3]

Starts `masktune serve` in a folder of its own, uploads a zip of so many small images and waits for its
import, puts so many ended jobs into the database, and opens the pages in Debian's chromium (needs the
group `test`: playwright): from the request to the first row, card or image of the list in the page,
medians of several visits; then turns a page and filters. Beside it, the same service with one data set
of 200 images and no job. Ends with one JSON line; exits with 1 when a page of the full one takes more than
twice as long as that of the nearly empty one, plus half a second.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._browser import FLAGS, chromium
from benchmarks._common import table
from benchmarks._machine import load_average
from benchmarks._service import served
from client import Client
from core.ids import new_id
from core.queries import jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from core.vocabulary import JobKind, JobState

PAGES = {
    "data sets": ("/ui/", "table tbody tr, .card"),
    "a data set": ("/ui/datasets/{dataset}", ".samples img, figure img"),
    "jobs": ("/ui/jobs", "table tbody tr"),
    "new job": ("/ui/new", "button:has-text('Start the job')"),
    "models": ("/ui/models", "h1"),
    "try it": ("/ui/try", "h1"),
}
TIMES_AS_LONG, MORE_SECONDS = 2.0, 0.5
SMALL = 200


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--visits", type=int, default=3)
    arguments = parser.parse_args()
    found = {}
    for name, images, ended in (("empty", SMALL, 0), ("full", arguments.images, arguments.jobs)):
        with tempfile.TemporaryDirectory(prefix="masktune-dashboard-") as folder:
            found[name] = _measure(Path(folder), images=images, ended=ended, visits=arguments.visits)
    rows = [
        {"page": page, "nearly empty, s": found["empty"].get(page), "full, s": seconds}
        for page, seconds in found["full"].items()
    ]
    print(table(rows))
    targets = {
        page: {
            "value": round(found["full"][page], 3),
            "at_most": round(TIMES_AS_LONG * found["empty"][page] + MORE_SECONDS, 3),
        }
        for page in PAGES
    }
    ok = all(target["value"] <= target["at_most"] for target in targets.values())
    line = {"benchmark": "dashboard", "load_average": load_average(), "figures": found, "targets": targets}
    print(json.dumps(line | {"jobs": arguments.jobs, "images": arguments.images, "ok": ok}))
    return 0 if ok else 1


def _measure(folder: Path, *, images: int, ended: int, visits: int) -> dict[str, float]:
    archive = folder / "images.zip"
    _write_images(archive, images)
    with served(folder) as url, Client(url) as client:
        began = time.monotonic()
        dataset = client.datasets.upload(archive, name="many")
        dataset = client.datasets.wait(dataset.id, timeout=1800)
        imported = time.monotonic() - began
        _add_jobs(folder / "data", dataset.id, ended)
        return _visit(url, dataset.id, visits) | {"import": imported}


def _visit(url: str, dataset: str, visits: int) -> dict[str, float]:
    from playwright.sync_api import sync_playwright

    binary = chromium()
    if binary is None:
        raise SystemExit("NOT RUN: this needs chromium")
    seconds: dict[str, list[float]] = {name: [] for name in PAGES}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        for visit in range(visits + 1):
            for name, (path, wanted) in PAGES.items():
                began = time.monotonic()
                page.goto(url + path.format(dataset=dataset))
                page.locator(wanted).first.wait_for()
                if visit:  # the first loads the toolkit
                    seconds[name].append(time.monotonic() - began)
        browser.close()
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _write_images(archive: Path, number: int) -> None:
    """Noise in two classes, 28 px: each image is another, and none compresses well."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as target:
        for index in range(number):
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)).save(
                stream, "PNG", compress_level=0
            )
            target.writestr(f"{('a', 'b')[index % 2]}/{index:06d}.png", stream.getvalue())


def _add_jobs(data: Path, dataset: str, number: int) -> None:
    """Jobs that ended, in every way that there is."""
    database = Database(Settings(data_dir=data).database)
    ends = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    error = {"title": "The job failed", "status": 500, "detail": "the loss is not a number"}
    with database.begin() as session:
        for index in range(number):
            state = ends[index % len(ends)]
            row = JobRow(
                id=new_id("job"), kind=JobKind.ERM, dataset_id=dataset, params={"backbone": "small_cnn"}
            )
            jobs.add(session, row)
            row.state = state
            row.error = error if state is JobState.FAILED else None
            row.ended_at = time.time()
    database.close()


if __name__ == "__main__":
    sys.exit(main())
