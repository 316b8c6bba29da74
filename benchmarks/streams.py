"""Hundreds of event streams on one API process: their cost, and whether each event comes once and in order.

    python -m benchmarks.streams [--streams 400] [--jobs 20] [--every 0.5] [--seconds 20]

Starts `masktune api` on SQLite in a temporary folder, claims jobs as a worker would, and writes an event for
each at an interval, while the client's streams (`client.jobs.events`) follow them. The figure is the
process's own CPU time over a quiet period, so that other work on the machine does not count. Then the API is
killed and restarted at the same address, and the streams resume with `Last-Event-ID`. At the end the jobs
end, and the streams with them; every stream must have received every number from 1, once and in order.
Needs Linux (/proc). Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks._common import table
from benchmarks._machine import load_average
from benchmarks._service import environment, leave_on_sigterm
from core import schema
from core.queries import events, jobs, leases
from core.queries.leases import Lease
from core.session import Database
from core.settings import Settings
from core.tables import JobRow
from masktune import AsyncClient
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import EventType, JobKind, JobState
from tests.support.servers import Part, free_port, wait_for_port

MOST_OF_A_CORE = 0.15
PER_CLIENT = 50
"""Streams of a client, each a connection: httpx opens at most 100."""
_WARM_SECONDS = 4.0


@dataclass
class Followed:
    """The event numbers received, by job: one list per stream."""

    numbers: dict[str, list[list[int]]] = field(default_factory=dict)
    open: int = 0


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two events of a job")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the stretch that is measured")
    arguments = parser.parse_args()
    leave_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="masktune-streams-") as name:
        folder = Path(name)
        settings = Settings(data_dir=folder / "data")
        settings.data_dir.mkdir()
        schema.upgrade(settings.database)
        database = Database(settings.database)
        api = _api(folder, settings, streams=arguments.streams)
        try:
            figures = asyncio.run(_measure(api, database, arguments))
        finally:
            api.end()
            database.close()
    print(table([figures]))
    targets = {
        "cpu_of_a_core": {"value": figures["cpu_of_a_core"], "at_most": MOST_OF_A_CORE},
        "streams_wrong": {"value": figures["streams_wrong"], "at_most": 0},
        "streams_not_open": {"value": arguments.streams - figures["open"], "at_most": 0},
    }
    ok = all(target["value"] <= target["at_most"] for target in targets.values())
    line = {"benchmark": "streams", "load_average": load_average(), "figures": figures, "targets": targets}
    print(json.dumps(line | {"ok": ok}))
    return 0 if ok else 1


def _api(folder: Path, settings: Settings, *, streams: int) -> Part:
    port = free_port()
    variables = environment(
        DATA_DIR=str(settings.data_dir), PORT=str(port), MAX_EVENT_STREAMS=str(streams + 10)
    )
    command = [sys.executable, "-m", "masktune.cli", "api", "--port", str(port)]
    part = Part("api", command, variables, folder)
    part.start()
    wait_for_port(port, "the API")
    # Ten seconds after its start, a process imports torch, once: seconds of CPU that are not the streams'.
    # The readiness check makes it do so now.
    httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).raise_for_status()
    return part


async def _measure(api: Part, database: Database, arguments: argparse.Namespace) -> dict[str, float]:
    url = f"http://127.0.0.1:{api.environment['MASKTUNE_PORT']}"
    claimed = _claimed(database, arguments.jobs)
    followed = Followed({lease.job_id: [] for lease in claimed})
    stop = asyncio.Event()
    teller = asyncio.create_task(_tell(database, claimed, arguments.every, stop))
    clients = [AsyncClient(url) for _ in range(-(-arguments.streams // PER_CLIENT))]
    names = list(followed.numbers)
    followers = [
        asyncio.create_task(_follow(clients[n // PER_CLIENT], names[n % len(names)], followed))
        for n in range(arguments.streams)
    ]
    await asyncio.sleep(_WARM_SECONDS)
    while followed.open < arguments.streams:
        await asyncio.sleep(0.2)
    opened = followed.open
    before, events_before, began = _cpu_seconds(api), _received(followed), time.monotonic()
    await asyncio.sleep(arguments.seconds)
    lasted = time.monotonic() - began
    cpu, received = _cpu_seconds(api) - before, _received(followed) - events_before
    await asyncio.to_thread(api.kill)
    await asyncio.sleep(2 * arguments.every)  # events are written while the API is down
    await asyncio.to_thread(api.start)
    await asyncio.to_thread(wait_for_port, int(api.environment["MASKTUNE_PORT"]), "the API")
    await asyncio.sleep(10 * arguments.every)
    stop.set()
    await teller
    last = await asyncio.to_thread(_end, database, claimed)
    await asyncio.gather(*followers)
    for client in clients:
        await client.aclose()
    wrong = sum(
        numbers != list(range(1, last[job] + 1))
        for job, lists in followed.numbers.items()
        for numbers in lists
    )
    return {
        "streams": arguments.streams,
        "jobs": arguments.jobs,
        "open": opened,
        "seconds": lasted,
        "events_per_second": received / lasted,
        "cpu_of_a_core": cpu / lasted,
        "events_of_a_stream": max(last.values()),
        "streams_wrong": wrong,
    }


async def _follow(client: AsyncClient, job: str, followed: Followed) -> None:
    numbers: list[int] = []
    followed.numbers[job].append(numbers)
    async for event in client.jobs.events(job):
        followed.open += not numbers
        numbers.append(event.id)


def _received(followed: Followed) -> int:
    return sum(len(numbers) for lists in followed.numbers.values() for numbers in lists)


def _claimed(database: Database, number: int) -> list[Lease]:
    """Add `number` jobs and claim each for this process."""
    claimed: list[Lease] = []
    for _ in range(number):
        with database.begin() as session:
            row = JobRow(id=new_id("job"), kind=JobKind.ERM, params={}, inputs={})
            jobs.add(session, row)
        with database.begin() as session:
            taken = leases.claim(session, worker=f"benchmark:{uuid.uuid4().hex}", lease_seconds=3600)
            assert taken is not None
            claimed.append(Lease(taken.id, taken.token))
    return claimed


async def _tell(database: Database, claimed: list[Lease], every: float, stop: asyncio.Event) -> None:
    """Write an event for every job at the interval, in one transaction, until `stop`."""

    def tell(step: int) -> None:
        with database.begin() as session:
            for lease in claimed:
                data = {"fraction": step / 10_000, "stage": "erm", "epoch": 1, "step": step}
                events.add(session, lease.job_id, EventType.PROGRESS, data)

    step = 0
    while not stop.is_set():
        step += 1
        await asyncio.to_thread(tell, step)
        await asyncio.sleep(every)


def _end(database: Database, claimed: list[Lease]) -> dict[str, int]:
    """End every job; returns the number of each one's last event."""
    with database.begin() as session:
        for lease in claimed:
            leases.end(session, lease, JobState.SUCCEEDED)
    with database.read() as session:
        return events.heads(session, [lease.job_id for lease in claimed])


def _cpu_seconds(part: Part) -> float:
    """User and system time of the process since its start (fields 14 and 15 of proc(5) stat)."""
    assert part.process is not None
    fields = Path(f"/proc/{part.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
