"""What the lists behind the dashboard cost: what the database reads for a page, and the processor's time."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.testclient import TestClient
from sqlalchemy import event, insert, select, text

from app.main import create_app
from benchmarks._common import Aim
from benchmarks._dashboard_rows import RARE_ARM, RARE_KIND
from benchmarks._dashboard_world import World
from core.schema import upgrade
from core.session import Database
from core.settings import Settings
from core.tables import Table

LIMIT = 37
"""Entries of a page: one more than the dashboard's longest list shows."""
MOST_READ = {"PostgreSQL": 500, "SQLite": 30_000}
"""Rows, and on SQLite, which counts none, steps of its virtual machine: it takes about 40 for a row."""
MOST_MILLISECONDS = 250.0
"""Of the processor for a search, which reads on until it has found a page."""
REPEATS = 5
_SEARCH = "q="
_STEPS_AT_A_TIME = 100
_AT_A_TIME = 5_000

FILTERS: Mapping[str, Sequence[str]] = {
    "/datasets": ("", "created_after={since}", "q=0999", "q=nowhere"),
    "/jobs": (
        "",
        "kind=erm",
        f"kind={RARE_KIND}",
        "state=succeeded",
        "state=running",
        "kind=mask&state=failed",
        f"kind={RARE_KIND}&state=failed",
        "kind=masktune&state=running",
        "dataset={dataset}",
        "dataset={dataset}&state=succeeded",
        f"dataset={{dataset}}&kind={RARE_KIND}",
        "created_after={since}",
        "created_after={since}&state=failed",
        "q=site+07",
        "q=nowhere",
    ),
    "/models": (
        "",
        "arm=erm",
        f"arm={RARE_ARM}",
        "dataset={dataset}",
        "created_after={since}",
        "q=site+07",
        "q=nowhere",
    ),
    "/datasets/{dataset}/samples": (
        "",
        "split=test",
        "label=b",
        "group=a,+left",
        "subject=subject+000003",
        "metadata.site=site+07",
        "metadata.age=30",
        "q=site+07",
        "q=nowhere",
    ),
    "/jobs/{predictions}/predictions/rows": ("", "decision=abstain", "sort=least_sure"),
    "/jobs/{long_job}/events": ("", "thin=true"),
    "/reviews": ("", "state=waiting", "model={model}", "model={model}&state=waiting"),
    "/webhooks": ("",),
    "/webhooks/{webhook}/deliveries": ("",),
    "/aliases": ("",),
}
"""Path → queries: the filters that pages of the dashboard offer, with many matches, with two, with none."""
CLAIMS = ("", "model={model}", "kind=abstained")
"""Queries of `POST /reviews/next`, which the page of reviews sends."""


class Cost(NamedTuple):
    """One request: milliseconds of this process, queries, and what the database has `read` for them."""

    milliseconds: float
    queries: int
    read: int


def measure_lists(data: Path, url: str, world: World) -> dict[str, Cost]:
    """Request → cost, in a service with this data folder and this database."""
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 2 * 86_400))
    paths = [("GET", f"{path}?{query}") for path, queries in FILTERS.items() for query in queries]
    paths += [("POST", f"/reviews/next?{query}") for query in CLAIMS]
    ids = world._asdict() | {"since": since}
    requests = {f"{method} {path}": (method, path.format(**ids)) for method, path in paths}
    settings = Settings(data_dir=data, database_url=url, rate_limits="")
    app = create_app(settings)
    with TestClient(app, "http://localhost") as client:

        def send(method: str, path: str) -> float:
            began = time.process_time()
            response = client.request(method, f"{path}&limit={LIMIT}")
            assert response.status_code == 200, (path, response.text)
            return 1e3 * (time.process_time() - began)

        spent = {name: [send(*one) for _ in range(REPEATS)] for name, one in requests.items()}
        costs = {}
        with reading(app.state.services.database) as count:
            for name, one in requests.items():
                counts = []
                for _ in range(2):  # the service's own sweep may read beside one
                    count.clear()
                    send(*one)
                    counts.append((count["read"], count["queries"]))
                read, queries = min(counts)
                costs[name] = Cost(round(statistics.median(spent[name]), 1), queries, read)
    return costs


def list_aims(database: str, costs: Mapping[str, Cost]) -> dict[str, Aim]:
    """What the requests may read; of searches, how long they may take."""
    return {
        f"{database}: {request}": Aim(cost.milliseconds, at_most=MOST_MILLISECONDS)
        if _SEARCH in request
        else Aim(cost.read, at_most=MOST_READ[database])
        for request, cost in costs.items()
    }


def copy_rows(source: Database, url: str) -> None:
    """Make the tables of `source` at `url`, and measure them for the planner."""
    upgrade(url)
    with closing(Database(url)) as target, source.read() as session:
        for table in Table.metadata.sorted_tables:
            rows = session.execute(select(table)).mappings()
            while some := [dict(row) for row in islice(rows, _AT_A_TIME)]:
                with target.begin() as copying:
                    copying.execute(insert(table), some)
        with target.begin() as measuring:
            measuring.execute(text("ANALYZE"))


@contextmanager
def reading(database: Database) -> Iterator[Counter[str]]:
    """Count the `queries` of this database, and what it has `read` for them."""
    count: Counter[str] = Counter()
    is_postgres = database.engine.dialect.name == "postgresql"

    def begins(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith("SELECT"):
            return
        count["queries"] += 1
        if is_postgres:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
            ((plans,),) = cursor.fetchall()
            count["read"] += sum(rows_read(one["Plan"]) for one in plans)
        else:
            cursor.connection.set_progress_handler(more_steps, _STEPS_AT_A_TIME)

    def more_steps() -> None:
        count["read"] += _STEPS_AT_A_TIME

    event.listen(database.engine, "before_cursor_execute", begins)
    yield count
    event.remove(database.engine, "before_cursor_execute", begins)


def rows_read(plan: Mapping[str, Any]) -> int:
    """Rows of tables that this node of PostgreSQL's plan and those below it have looked at."""
    own = 0
    if "Relation Name" in plan:
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = round(plan["Actual Loops"] * (plan["Actual Rows"] + sum(plan.get(name, 0) for name in removed)))
    return own + sum(rows_read(one) for one in plan.get("Plans", ()))
