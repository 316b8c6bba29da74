"""How long the dashboard's pages take when there is a lot of content, and what its lists read for them.

    python -m benchmarks.dashboard [--visits 5] [--folder DIR] [--server URL]

Makes two worlds behind `masktune serve`: a full one with 100,000 images, 10,000 jobs and as much of the
rest, and a nearly empty one with 200 images and a training. Opens the pages of both in Debian's chromium
(needs the group `test`: playwright) and measures the first paint, the time to the page's main content and
the processor time of the service, as medians of several visits; then turns a page and filters, and measures
from the click to the result. Last, sends the requests of the lists to SQLite and to a database of its own on
the PostgreSQL `--server`, and counts what their queries read. `--folder` keeps the worlds there, and a second
call only visits them. Ends with one JSON line; exits with 1 if a first paint takes more than a second, if
anything takes more than twice as long in the full world as in the nearly empty one, plus half a second, or
if a query reads a whole table.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2

from benchmarks._common import Aim, finish, served, table, work_folder
from benchmarks._dashboard_rows import FULL, Size
from benchmarks._dashboard_world import World, make_world
from benchmarks._list_queries import Cost, copy_rows, list_aims, measure_lists
from benchmarks._needs import need_packages, need_server, refuse
from benchmarks._scaling_database import own_database
from benchmarks.scaling import SERVER
from core.session import Database
from core.settings import Settings
from models.run import Run, resolve_device
from tests.support.browser import FLAGS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = {
    "data sets": ("/ui/", "table tbody tr"),
    "a data set": ("/ui/datasets/{dataset}", ".samples img"),
    "a sample": ("/ui/datasets/{dataset}/samples/7", "img.full-size"),
    "jobs": ("/ui/jobs", "table tbody tr"),
    "jobs, searched": ("/ui/jobs?q=no+such+text", ".empty"),
    "a job": ("/ui/jobs/{job}", "svg.chart"),
    "a job of many events": ("/ui/jobs/{long_job}", "svg.chart"),
    "its report": ("/ui/jobs/{job}/report", ".gallery img"),
    "predictions": ("/ui/jobs/{predictions}/predictions", ".samples img"),
    "models": ("/ui/models", "table tbody tr"),
    "a model": ("/ui/models/{model}", "svg.chart"),
    "what a model refuses": ("/ui/models/{model}", "ul.samples img"),
    "try it": ("/ui/try", "button.pick img"),
    "reviews": ("/ui/reviews", "[aria-label=Image] .card, [aria-label=Image] .empty"),
    "storage": ("/ui/storage", "table tbody tr"),
    "new job": ("/ui/new", "h2:has-text('Estimated time')"),
}
"""Page → its path, and a selector of its main content: the page has loaded once this is visible."""
MOST_PAINT = 1.0
"""Seconds from the request to the first paint."""
TIMES_AS_LONG, MORE_SECONDS = 2.0, 0.5
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"  # milliseconds
_CPU = re.compile(rb"^process_cpu_seconds_total (\S+)$", re.MULTILINE)


class Visit(NamedTuple):
    """Seconds: from the request to the first paint (None for a click) and to the main content, and of the
    service's processor until then."""

    paint: float | None
    content: float
    cpu: float


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--server", default=os.environ.get("MASKTUNE_DATABASE_URL", SERVER))
    arguments = parser.parse_args()
    binary = chromium()
    if binary is None:
        refuse("this needs chromium")
    need_packages("playwright")
    need_server(arguments.server)
    sizes = {"empty": Size(), "full": FULL}
    with work_folder(arguments.folder) as parent:
        folder = parent.absolute()
        worlds = {kind: make_world(folder / kind, size) for kind, size in sizes.items()}
        visits = {
            kind: visit_pages(binary, folder / kind, world, arguments.visits)
            for kind, world in worlds.items()
        }
        lists = _lists(folder / "full" / "data", worlds["full"], arguments.server)
    rows, aims = _pages(visits["empty"], visits["full"])
    read = [
        {"request": request}
        | {
            f"{name}, {field}": one
            for name, costs in lists.items()
            for field, one in costs[request]._asdict().items()
        }
        for request in lists["SQLite"]
    ]
    print(table(rows), table(read), sep="\n\n")
    for name, costs in lists.items():
        aims |= list_aims(name, costs)
    records = {kind: one._asdict() for kind, one in worlds.items()}
    run = Run(resolve_device("cpu"))
    return finish("dashboard", run, rows=rows, aims=aims, lists=read, worlds=records, size=FULL._asdict())


def _pages(empty: dict[str, Visit], full: dict[str, Visit]) -> tuple[list[dict[str, Any]], dict[str, Aim]]:
    rows, aims = [], {}
    for what, visit in full.items():
        rows.append(
            {
                "what": what,
                "nearly empty, s": round(empty[what].content, 3),
                "full, s": round(visit.content, 3),
                "first paint, s": visit.paint and round(visit.paint, 3),
                "processor, s": round(visit.cpu, 3),
            }
        )
        most = TIMES_AS_LONG * empty[what].content + MORE_SECONDS
        aims[what] = Aim(round(visit.content, 3), at_most=round(most, 3))
        if visit.paint is not None:
            aims[f"{what}: first paint"] = Aim(round(visit.paint, 3), at_most=MOST_PAINT)
    return rows, aims


def visit_pages(binary: str, folder: Path, world: World, visits: int) -> dict[str, Visit]:
    """Medians per page and action; the first visit loads the toolkit and is left out."""
    from playwright.sync_api import sync_playwright

    by_page: defaultdict[str, list[Visit]] = defaultdict(list)
    with served(folder) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        for _ in range(visits + 1):
            for name, (path, selector) in PAGES.items():
                by_page[name].append(_open(page, url, path.format(**world._asdict()), selector))
            for name, act in ACTS.items():
                cpu = cpu_seconds(url)
                content = act(page, url, world)
                by_page[name].append(Visit(None, content, cpu_seconds(url) - cpu))
        browser.close()
    return {name: _median(one[1:]) for name, one in by_page.items()}


def _open(page: Page, url: str, path: str, selector: str) -> Visit:
    cpu, began = cpu_seconds(url), time.monotonic()
    page.goto(url + path)
    page.locator(selector).first.wait_for()
    content, cpu = time.monotonic() - began, cpu_seconds(url) - cpu
    paint = page.wait_for_function(_FIRST_PAINT).json_value()  # recorded with the frame after
    return Visit(paint / 1e3, content, cpu)


def _median(visits: list[Visit]) -> Visit:
    paint, content, cpu = zip(*visits, strict=True)
    first_paint = None if paint[0] is None else statistics.median(paint)
    return Visit(first_paint, statistics.median(content), statistics.median(cpu))


def cpu_seconds(url: str) -> float:
    """Processor time that the service has taken: the API and the dashboard, without the worker."""
    cpu_line = _CPU.search(httpx2.get(f"{url}/metrics").content)
    assert cpu_line is not None
    return float(cpu_line[1])


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


def _lists(data: Path, world: World, server: str) -> dict[str, dict[str, Cost]]:
    """Database → request → its cost."""
    sqlite = Settings(data_dir=data).database
    costs = {"SQLite": measure_lists(data, sqlite, world)}
    with own_database(server) as url:
        with closing(Database(sqlite)) as database:
            copy_rows(database, url)
        costs["PostgreSQL"] = measure_lists(data, url, world)
    return costs


if __name__ == "__main__":
    sys.exit(main())
