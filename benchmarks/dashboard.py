"""How long the dashboard's pages take to show their content when there is a lot of it.

    python -m benchmarks.dashboard [--jobs 1000] [--images 100000] [--visits 5] [--folder DIR]

Makes two worlds behind `masktune serve`: a full one with `--images` small images, a training on them and
`--jobs` ended jobs, and a nearly empty one with 200 images and a training. Opens the pages of both in
Debian's chromium (needs the group `test`: playwright) and measures the time from the request to the page's
main content, as medians of several visits; then turns a page and filters, and measures from the click to the
result. `--folder` keeps the worlds there, and a second call only visits them. Ends with one JSON line; exits
with 1 if anything takes more than twice as long in the full world as in the nearly empty one, plus half a
second.
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
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from benchmarks._common import load_average, served, table
from core.queries import jobs
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from masktune import Client
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState
from tests.support.browser import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = {
    "data sets": ("/ui/", "table tbody tr"),
    "a data set": ("/ui/datasets/{dataset}", ".samples img"),
    "jobs": ("/ui/jobs", "table tbody tr"),
    "a job": ("/ui/jobs/{job}", "svg.chart"),
    "its report": ("/ui/jobs/{job}/report", ".gallery img"),
    "new job": ("/ui/new", "h2:has-text('Estimated time')"),
    "models": ("/ui/models", "table tbody tr"),
    "a model": ("/ui/models/{model}", "svg.chart"),
    "what a model refuses": ("/ui/models/{model}", "ul.samples img"),
    "try it": ("/ui/try", "button.pick img"),
}
"""Page → its path, and a selector of its main content: the page has loaded once this is visible."""
TIMES_AS_LONG, MORE_SECONDS = 2.0, 0.5
SMALL = 200
READY = "world.json"
HOUR = 3600.0


class World(NamedTuple):
    """The ids of the content, and the seconds that the import and the training took."""

    dataset: str
    job: str
    model: str
    import_seconds: float
    train_seconds: float


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    binary = chromium()
    if binary is None:
        raise SystemExit("NOT RUN: this needs chromium")
    temporary = (
        tempfile.TemporaryDirectory(prefix="masktune-dashboard-") if arguments.folder is None else None
    )
    with temporary or nullcontext(arguments.folder) as name:
        sizes = {"empty": (SMALL, 0), "full": (arguments.images, arguments.jobs)}
        folders = {kind: Path(name).absolute() / kind for kind in sizes}
        worlds = {
            kind: world(folders[kind], images=images, ended=ended) for kind, (images, ended) in sizes.items()
        }
        medians = {
            kind: _looked_at(binary, folders[kind], each, arguments.visits) for kind, each in worlds.items()
        }
    return _judged(medians, worlds, jobs=arguments.jobs, images=arguments.images)


def _judged(medians: dict[str, dict[str, float]], worlds: dict[str, World], *, jobs: int, images: int) -> int:
    empty, full = medians["empty"], medians["full"]
    print(
        table(
            [
                {"what": what, "nearly empty, s": empty[what], "full, s": seconds}
                for what, seconds in full.items()
            ]
        )
    )
    targets = {
        what: {"value": round(seconds, 3), "at_most": round(TIMES_AS_LONG * empty[what] + MORE_SECONDS, 3)}
        for what, seconds in full.items()
    }
    ok = all(target["value"] <= target["at_most"] for target in targets.values())
    records = {kind: one._asdict() for kind, one in worlds.items()}
    line = {"benchmark": "dashboard", "load_average": load_average(), "worlds": records, "targets": targets}
    print(json.dumps(line | {"jobs": jobs, "images": images, "ok": ok}))
    return 0 if ok else 1


def _looked_at(binary: str, folder: Path, world: World, visits: int) -> dict[str, float]:
    """Seconds per page and action, medians of the visits; the first loads the toolkit and is left out."""
    from playwright.sync_api import sync_playwright

    seconds: defaultdict[str, list[float]] = defaultdict(list)
    with served(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        for _ in range(visits + 1):
            for name, (path, selector) in PAGES.items():
                began = time.monotonic()
                page.goto(url + path.format(**world._asdict()))
                page.locator(selector).first.wait_for()
                seconds[name].append(time.monotonic() - began)
            for name, act in ACTS.items():
                seconds[name].append(act(page, url, world))
        browser.close()
    return {name: statistics.median(taken[1:]) for name, taken in seconds.items()}


def _turn_samples(page: Page, url: str, world: World) -> float:
    page.goto(f"{url}/ui/datasets/{world.dataset}")
    page.locator(".samples img").first.wait_for()
    return _until(page, page.get_by_role("button", name="Next").click, "text=page 2")


def _samples_of_a_class(page: Page, url: str, world: World) -> float:
    page.get_by_label("Class", exact=True).first.click()
    option = page.get_by_role("option", name="b", exact=True)
    return _until(page, option.click, "text=page 1")


def _failed_jobs(page: Page, url: str, world: World) -> float:
    page.goto(f"{url}/ui/jobs")
    page.locator("table tbody tr").first.wait_for()
    page.get_by_label("State", exact=True).first.click()
    began = time.monotonic()
    page.get_by_role("option", name="failed", exact=True).click()
    page.wait_for_function("!document.querySelector('tbody .badge.good')")
    return time.monotonic() - began


ACTS: dict[str, Callable[[Page, str, World], float]] = {
    "the next samples": _turn_samples,
    "the samples of a class": _samples_of_a_class,
    "the failed jobs": _failed_jobs,
}


def _until(page: Page, act: Callable[[], object], selector: str) -> float:
    began = time.monotonic()
    act()
    page.locator(selector).first.wait_for()
    return time.monotonic() - began


# --- the worlds -------------------------------------------------------------------------------


def world(folder: Path, *, images: int, ended: int) -> World:
    """The world in this folder, created if missing. `ended` is the number of jobs in the history."""
    record = folder / READY
    if record.exists():
        return World(**json.loads(record.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "images.zip"
    _write_images(archive, images)
    with served(folder) as url, Client(url) as client:
        began = time.monotonic()
        dataset = client.datasets.upload(archive, name="many")
        client.datasets.wait(dataset.id, timeout=HOUR)
        imported = time.monotonic()
        _add_jobs(folder / "data", dataset.id, ended)
        job = client.jobs.start("erm", dataset=dataset.id, epochs=1, backbone="small_cnn")
        ended_job = client.jobs.wait(job.id, timeout=HOUR)
        trained = time.monotonic()
    archive.unlink()
    world = World(dataset.id, job.id, ended_job.models["erm"], imported - began, trained - imported)
    record.write_text(json.dumps(world._asdict()))
    return world


def _write_images(archive: Path, number: int) -> None:
    """Noise images of 28 px in two classes, one a little brighter; all differ, and none compresses well."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as target:
        for index in range(number):
            stream = io.BytesIO()
            pixels = rng.integers(0, 226 + 30 * (index % 2), (28, 28, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(stream, "PNG", compress_level=0)
            target.writestr(f"{('a', 'b')[index % 2]}/{index:06d}.png", stream.getvalue())


def _add_jobs(data: Path, dataset: str, number: int) -> None:
    """Add ended jobs, in every end state."""
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
