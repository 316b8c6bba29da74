"""Whether memory stays flat over ten minutes at twice one process's rate, with explanations and uploads.

    python -m benchmarks.soak [--minutes 10]

SmallCNN and PNG bodies as in `benchmarks.serving`. First, two loops of the same few clients, with and without
explanations and uploads beside them, show how much those slow predictions down. After a short closed loop
that finds the rate, an open loop sends twice that rate for the whole time, over more connections than are
admitted; `/livez` is requested 20 times a second; one client explains small batches with a slow method, and
one uploads data sets, cancels their imports and deletes them. The memory of the process is read every five
seconds. `lost` counts requests sent on an idle connection just as the server closed it, which a client would
send again. Needs Linux (/proc). Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import Aim, table
from benchmarks._load import LoadResult, Plan, load
from benchmarks._machine import load_average, usable_cores
from benchmarks._serving_world import Furnished, Kind, Server, digits, furnish, masktune, warm
from masktune import Client, ProblemError, Retry

CONNECTIONS = 1024
CLIENTS = 8
GROWTH = 0.03
"""Largest growth of memory allowed from the second tenth of the time to the last."""
_LIVEZ_MS = 50.0
_STARVED = 4.0
"""Largest ratio allowed of the predictions' p99 beside explanations and uploads to that without them."""
_READ_SECONDS = 5.0


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    kind = digits()
    with tempfile.TemporaryDirectory(prefix="masktune-soak-") as name:
        folder = Path(name)
        world = furnish(folder, kind)
        with masktune(folder, "api") as server:
            warm(server.port, kind, world.alone, 1)
            figures = _measure(server, kind, world, folder, 60 * arguments.minutes)
    memory = figures.pop("memory_mib")
    samples = memory[:: max(1, len(memory) // 12)]
    print(table([{"minute": round(minute, 1), "MiB": round(mib, 1)} for minute, mib in samples]))
    print(table([figures]))
    aims = {
        "growth of memory": Aim(_growth([mib for _, mib in memory]), at_most=GROWTH),
        "/livez p99, ms": Aim(figures["livez_p99_ms"], at_most=_LIVEZ_MS),
        "/livez unanswered": Aim(figures["livez_unanswered"], at_most=0),
        "answers other than 200 and 503": Aim(figures["other_statuses"], at_most=0),
        "lost of 10,000 requests": Aim(figures["lost_of_10000"], at_most=1),
        "p99 of predictions beside explanations and uploads": Aim(figures["starved"], at_most=_STARVED),
    }
    for key, aim in aims.items():
        print(f"{key:52} {json.dumps(aim.to_json())}")
    ok = all(aim.ok for aim in aims.values())
    line = {
        "benchmark": "soak",
        "minutes": arguments.minutes,
        "cores": usable_cores(),
        "load_average": load_average(),
        "figures": figures,
        "memory_mib": memory,
        "targets": {key: aim.to_json() for key, aim in aims.items()},
        "ok": ok,
    }
    print(json.dumps(line), flush=True)
    return 0 if ok else 1


def _measure(server: Server, kind: Kind, world: Furnished, folder: Path, seconds: float) -> dict[str, Any]:
    path = f"/predict?model={world.alone}"

    def plan(clients: int, seconds: float, rate: float | None = None) -> Plan:
        return Plan(server.port, path, kind.content_type, kind.bodies, clients, seconds, rate=rate)

    quiet = load(plan(CLIENTS, 10.0))
    with _others(server.port, kind, world, folder) as beside:
        busy = load(plan(CLIENTS, 10.0))
    best = load(plan(32, 5.0)).rate
    probe = Plan(server.port, "/livez", "text/plain", [""], 4, seconds, rate=20.0, method="GET")
    with _others(server.port, kind, world, folder) as others, _memory(server) as memory:
        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(load, p) for p in (plan(CONNECTIONS, seconds, 2 * best), probe)]
            flooded, alive = (run.result() for run in running)
    return {
        "best_rate": round(best, 1),
        "answers_per_second": round(flooded.rate, 1),
        "refused": flooded.statuses.get("503", 0),
        "other_statuses": _others_than(flooded, "200", "503", "lost"),
        "lost": flooded.statuses.get("lost", 0),
        "lost_of_10000": 1e4 * flooded.statuses.get("lost", 0) / max(1, sum(flooded.statuses.values())),
        "p99_ms": flooded.p99,
        "livez_p99_ms": alive.p99,
        "livez_unanswered": alive.unanswered,
        "explained": others["explained"],
        "explanations_refused": others["explanations refused"],
        "uploaded": others["uploaded"],
        "p99_alone_ms": quiet.p99,
        "p99_beside_ms": busy.p99,
        "starved": busy.p99 / quiet.p99,
        "beside": dict(beside),
        "memory_mib": memory,
    }


def _others_than(measured: LoadResult, *statuses: str) -> int:
    return sum(count for status, count in measured.statuses.items() if status not in statuses)


@contextmanager
def _others(port: int, kind: Kind, world: Furnished, folder: Path) -> Iterator[Counter[str]]:
    """While the block runs, one client explains with a slow method, and one uploads and deletes again."""
    done, counts = threading.Event(), Counter[str]()
    archive = _archive(folder / "images.zip", kind.images)

    def explain(client: Client) -> None:
        client.saliency.images(world.alone, list(kind.images[:4]), method="scorecam")
        counts["explained"] += 1

    def upload(client: Client) -> None:
        dataset = client.datasets.upload(archive, name=f"soak-{counts['uploaded']}")
        assert dataset.job is not None
        client.jobs.cancel(dataset.job)
        client.datasets.delete(dataset.id)
        counts["uploaded"] += 1
        done.wait(1.0)

    def repeat(work: Callable[[Client], None], refused: str) -> None:
        with Client(f"http://127.0.0.1:{port}", retry=Retry(attempts=1)) as client:
            while not done.is_set():
                try:
                    work(client)
                except ProblemError as error:
                    if error.status != 503:
                        raise
                    counts[refused] += 1
                    done.wait(0.2)

    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(repeat, explain, "explanations refused"),
            threads.submit(repeat, upload, "uploads refused"),
        ]
        try:
            yield counts
        finally:
            done.set()
        for one in running:
            one.result()


@contextmanager
def _memory(server: Server) -> Iterator[list[tuple[float, float]]]:
    """Record (minutes, MiB) of the service's process every few seconds while the block runs."""
    done, began = threading.Event(), time.monotonic()
    samples: list[tuple[float, float]] = []

    def read() -> None:
        while not done.wait(_READ_SECONDS):
            status = Path(f"/proc/{server.pids[0]}/status").read_text()
            resident = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
            assert resident is not None
            samples.append(((time.monotonic() - began) / 60, int(resident[1]) / 1024))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _growth(mib: Sequence[float]) -> float:
    """The mean of the last tenth over that of the second, minus one; the first tenth fills caches."""
    tenth = max(1, len(mib) // 10)
    return float(np.mean(mib[-tenth:]) / np.mean(mib[tenth : 2 * tenth]) - 1)


def _archive(path: Path, images: Sequence[bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", io.BytesIO(image).getvalue())
    return path


if __name__ == "__main__":
    sys.exit(main())
