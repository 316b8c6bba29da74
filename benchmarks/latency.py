"""Start-up and queue latency: from the start of the front to its first response, from POST to claim.

    python -m benchmarks.latency [--redis redis://127.0.0.1:6379/9] [--starts 5] [--jobs 12]

The front is started as `masktune api` with no model loaded; a job is the import of a built-in data
set, posted while the worker is idle. "Claimed" is the job's own time stamp, by the database's clock.
Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks._service import leave_on_sigterm
from tests.support.servers import free_port

TARGETS = {"first_answer_s": 2.0, "claimed_redis_s": 0.1, "claimed_embedded_s": 0.3}
_PATIENCE = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--redis", help="a broker to measure beside the embedded one; its database is emptied"
    )
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=12)
    options = parser.parse_args()
    figures = {"first_answer_s": [_first_answer() for _ in range(options.starts)]}
    figures["claimed_embedded_s"] = _claims(options.jobs, broker=None)
    if options.redis:
        figures["claimed_redis_s"] = _claims(options.jobs, broker=options.redis)
    else:
        print("NOT MEASURED: claims on Redis (name one with --redis)", file=sys.stderr)
    return _report(figures)


def _report(figures: dict[str, list[float]]) -> int:
    print(f"{'':24}{'median':>9}{'max':>9}{'target':>9}{'n':>5}")
    for name, values in figures.items():
        print(
            f"{name:24}{statistics.median(values):9.3f}{max(values):9.3f}{TARGETS[name]:9.3f}{len(values):5}"
        )
    medians = {name: round(statistics.median(values), 4) for name, values in figures.items()}
    ok = all(medians[name] <= TARGETS[name] for name in medians)
    print(json.dumps({"benchmark": "latency", "figures": medians, "targets": TARGETS, "ok": ok}))
    return 0 if ok else 1


def _first_answer() -> float:
    """Seconds from the start of the process to its first response."""
    with _service(broker=None, parts=("api",)) as (_, started, answered):
        return answered - started


def _claims(jobs: int, *, broker: str | None) -> list[float]:
    with _service(broker=broker, parts=("api", "worker")) as (http, _, _):
        _claim(http)  # the worker may still be starting
        return [_claim(http) for _ in range(jobs)]


def _claim(http: httpx.Client) -> float:
    """Seconds from before the POST until the job was claimed; waits until the job has ended."""
    posted = time.time()
    body = (
        http.post("/datasets", json={"name": "digits", "source": "builtin:digits"}).raise_for_status().json()
    )
    deadline = time.monotonic() + _PATIENCE
    while True:
        job = http.get(f"/jobs/{body['job']}").raise_for_status().json()
        if job["ended_at"]:
            return datetime.fromisoformat(job["started_at"]).timestamp() - posted
        if time.monotonic() > deadline:
            raise TimeoutError(f"the job is {job['state']} after {_PATIENCE:g} s")
        time.sleep(0.1)


@contextmanager
def _service(*, broker: str | None, parts: tuple[str, ...]) -> Iterator[tuple[httpx.Client, float, float]]:
    """Run the parts as processes on a temporary data folder; yields (client, started, first response)."""
    leave_on_sigterm()
    folder = Path(tempfile.mkdtemp(prefix="masktune-latency-"))
    port = free_port()
    settings = {"MASKTUNE_DATA_DIR": str(folder), "MASKTUNE_PORT": str(port)}
    if broker:
        settings["MASKTUNE_BROKER_URL"] = broker
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        started = time.monotonic()
        for part in parts:
            process = subprocess.Popen(
                [sys.executable, "-m", "masktune.cli", part],
                env=os.environ | settings,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        http = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}"))
        yield http, started, _await_answer(http)


def _await_answer(http: httpx.Client) -> float:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            http.get("/presets").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.01)
        else:
            return time.monotonic()
    raise TimeoutError(f"no answer within {_PATIENCE:g} s")


if __name__ == "__main__":
    sys.exit(main())
