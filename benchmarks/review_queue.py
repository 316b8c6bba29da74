"""What a review queue costs those who wait for answers, and what a flood of images leaves in the database.

    python -m benchmarks.review_queue [--rounds 5] [--seconds 4] [--servers]

One API process with SmallCNN, eight clients, images that were never sent before. Each round measures the rate
without a queue and with one, while the model abstains on one of a hundred images, as many as an audit sample
draws, on a tenth, and on all; a ratio is taken within each round. Then the queue may hold 1 MiB, and every
image is queued for as long as all rounds took. Then another process keeps the database from being written,
while both this model and one without a queue are asked. `--servers`: with PostgreSQL and S3 (moto) instead of
SQLite and a folder; at the end the store fails every request, too. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import fsspec.core
import numpy as np
from PIL import Image
from sqlalchemy import func, select, text

from benchmarks._common import Aim, finish, make_run, table
from benchmarks._load import LoadResult, Plan, load
from benchmarks._serving_world import digits, export, furnish, masktune, warm
from core.session import Database
from core.settings import Settings
from core.tables import ReviewItemRow, Table
from tests.support.databases import postgres_database
from tests.support.object_store import Fault, ObjectStore

CLIENTS = 8
IMAGES = 4_000
KEEP_BYTES = 2**20
SHARES = {"one of 100": 0.01, "a tenth": 0.1, "all": 1.0}
"""Of images on which the model abstains."""
FAULT_SECONDS = 10.0


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--servers", action="store_true", help="PostgreSQL and S3 (moto)")
    arguments = parser.parse_args()
    kind, rng = digits(), np.random.default_rng(0)
    bodies = [base64.b64encode(_noise(rng)).decode() for _ in range(IMAGES)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(_servers()) if arguments.servers else None
        world = furnish(folder, kind)
        model = world.alone
        database = stack.enter_context(closing(Database(Settings(data_dir=folder).database)))
        server = stack.enter_context(masktune(folder, "api"))
        for one in (model, world.pair):
            export(server.port, one)
        warm(server.port, kind, model, 1)
        scores = [_score(server.port, model, body) for body in bodies[:1000]]
        plan = Plan(server.port, "", "image/png", bodies, CLIENTS, arguments.seconds)
        ask = f"/predict?model={model}&min_score="
        plans = {
            name: replace(plan, path=f"{ask}{np.quantile(scores, share) if share < 1 else 1}")
            for name, share in SHARES.items()
        }
        rounds = [_round(server.port, model, plans) for _ in range(arguments.rounds)]
        _set_policy(server.port, model, enabled=True, keep_bytes=KEEP_BYTES)
        before = _stored(database, folder)
        flood = load(replace(plans["all"], seconds=arguments.rounds * arguments.seconds))
        time.sleep(2)  # the queue is filled every second
        grown = _stored(database, folder)
        plan = replace(plans["all"], seconds=FAULT_SECONDS)
        both = {"queue": plan, "no queue": replace(plan, path=f"/predict?model={world.pair}")}
        with _locked(database):
            locked = _side_by_side(both)
        failing = {}
        if store is not None:
            with store.failing(lambda *_: Fault.INTERNAL_ERROR):
                failing = _side_by_side(both)
    rows = [
        {"abstains on": name, "queue": queue, **_figures([one[name, queue] for one in rounds])}
        for name in plans
        for queue in (False, True)
    ]
    rows.append({"abstains on": "all, 1 MiB", "queue": True, **_figures([flood])})
    faults = {"database locked": locked, "store fails": failing}
    rows += [
        {"abstains on": f"all, {fault}", "queue": queue == "queue", **_figures([one])}
        for fault, results in faults.items()
        for queue, one in results.items()
    ]
    print(table(rows))
    print(f"bytes of images in the queue: {grown['images']:,}, of the database {before['file']:,} before "
          f"the flood, {grown['file']:,} after")  # fmt: skip
    ratios = {name: median(one[name, True].rate / one[name, False].rate for one in rounds) for name in plans}
    aims = {
        "rate with a queue over that without": Aim(ratios["one of 100"], at_least=0.95),
        **{
            f"answers, {queue}, {fault}": Aim(_answered(one), at_least=1.0)
            for fault, results in faults.items()
            for queue, one in results.items()
        },
        "bytes of images over those of the policy": Aim(grown["images"] / KEEP_BYTES, at_most=1.1),
    }
    run = make_run("cpu", 0, "review queue")
    return finish("review_queue", run, rows=rows, aims=aims, ratios=ratios, stored=grown)


def _noise(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _round(port: int, model: str, plans: dict[str, Plan]) -> dict[tuple[str, bool], LoadResult]:
    rates = {}
    for name, plan in plans.items():
        for queue in (False, True):
            _set_policy(port, model, enabled=queue)
            rates[name, queue] = load(plan)
            urlopen(Request(f"http://127.0.0.1:{port}/models/{model}/reviews", method="DELETE")).close()
    return rates


def _set_policy(port: int, model: str, **policy: Any) -> None:
    address, head = (
        f"http://127.0.0.1:{port}/models/{model}/review-policy",
        {"Content-Type": "application/json"},
    )
    urlopen(Request(address, json.dumps(policy).encode(), head, method="PUT")).close()


def _score(port: int, model: str, body: str) -> float:
    ask = Request(f"http://127.0.0.1:{port}/predict?model={model}", base64.b64decode(body), method="POST")
    ask.add_header("Content-Type", "image/png")
    with urlopen(ask) as answer:
        return float(json.load(answer)["predictions"][0]["score"])


@contextmanager
def _servers() -> Iterator[ObjectStore]:
    """A database of PostgreSQL and a bucket, which the environment names from here on."""
    store, bucket = ObjectStore(), "s3://review-queue"
    os.environ.update(store.environment)
    fsspec.core.url_to_fs(bucket)[0].mkdir(bucket)
    try:
        with postgres_database() as address:
            os.environ["MASKTUNE_DATABASE_URL"] = address
            os.environ["MASKTUNE_STORAGE_URL"] = f"{bucket}/artifacts"
            yield store
    finally:
        store.stop()


def _stored(database: Database, folder: Path) -> dict[str, int]:
    """Bytes of the images, and of the database."""
    with database.read() as session:
        images = session.scalar(select(func.coalesce(func.sum(ReviewItemRow.bytes), 0)))
        if _is_postgres(database):
            size = session.scalar(text("SELECT pg_database_size(current_database())"))
        else:
            size = sum(one.stat().st_size for one in folder.glob("*.db*"))
    return {"images": int(images or 0), "file": int(size or 0)}


@contextmanager
def _locked(database: Database) -> Iterator[None]:
    """Nobody else writes while the block runs."""
    with database.begin() as session:
        if _is_postgres(database):
            session.execute(text(f"LOCK TABLE {', '.join(Table.metadata.tables)} IN EXCLUSIVE MODE"))
        yield


def _is_postgres(database: Database) -> bool:
    return database.engine.dialect.name == "postgresql"


def _side_by_side(plans: dict[str, Plan]) -> dict[str, LoadResult]:
    with ThreadPoolExecutor(len(plans)) as pool:
        return dict(zip(plans, pool.map(load, plans.values()), strict=True))


def _answered(result: LoadResult) -> float:
    return result.answered / max(1, sum(result.statuses.values()))


def _figures(results: list[LoadResult]) -> dict[str, float]:
    names = ("rate", "p50", "p99")
    return {name: round(median(getattr(one, name) for one in results), 1) for name in names}


if __name__ == "__main__":
    sys.exit(main())
