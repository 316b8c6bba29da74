"""The service that benchmarks.chaos starts and breaks, with the servers it uses."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec

from benchmarks._common import environment
from tests.support.servers import (
    Caddy,
    Postgres,
    Redis,
    ServerProcess,
    clock_off_by,
    free_port,
    wait_for_port,
)

if TYPE_CHECKING:
    from tests.support.object_store import ObjectStore

MARK = "MASKTUNE_CHAOS"
"""Environment variable of every process that is started, inherited by the processes that it starts."""
BUCKET = "s3://masktune-chaos"
_SILENT_LEASES = 15
"""For how many leases a child may be silent here; loading torch alone may take a dozen seconds."""


def marked(mark: str) -> dict[int, str]:
    """The living processes that carry the mark: pid → command line."""
    needle = f"{MARK}={mark}".encode()
    processes = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has ended, or belongs to another user
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if command:  # a zombie has none
                        processes[int(entry.name)] = command
    return processes


@dataclass
class Stack:
    """One service: an API, workers, and their servers unless those are embedded."""

    folder: Path
    settings: dict[str, str]
    environment: dict[str, str]
    mark: str
    api: ServerProcess
    api_port: int
    workers: list[ServerProcess]
    redis: Redis | None
    postgres: Postgres | None
    store: ObjectStore | None
    proxy: Caddy | None

    @classmethod
    def open(
        cls,
        folder: Path,
        mark: str,
        *,
        servers: bool,
        hosts: bool,
        persistent: bool,
        workers: int,
        threads: int,
        lease: float,
    ) -> Stack:
        """On PostgreSQL and Redis, which are started, if `servers`, else on SQLite without a broker.

        With `hosts`, as if every part were on a host of its own: the workers' clocks are an hour ahead and an
        hour behind in turn, artifacts are in S3, and a proxy is in front of the API.
        """
        folder.mkdir()
        marked_only = environment() | {MARK: mark}
        redis = Redis(folder, marked_only, persistent=persistent) if servers else None
        postgres = Postgres() if servers else None
        settings = {
            "DATA_DIR": str(folder / "data"),
            "THREADS": str(threads),
            "DEVICE": "cpu",
            "LEASE_SECONDS": str(lease),
            "HEARTBEAT_SECONDS": str(lease / 10),
            "CONTROL_SECONDS": "0.1",
            "SWEEP_SECONDS": "0.5",
            "RETRY_BACKOFF_SECONDS": "0.1",
            "CHILD_SILENT_SECONDS": str(_SILENT_LEASES * lease),
            # Kills are not the job's fault, so neither limit may end a job here.
            "MAX_ATTEMPTS": "100000",
            "MAX_CRASHES": "100000",
        }
        if redis is not None and postgres is not None:
            settings |= {"BROKER_URL": redis.url, "DATABASE_URL": postgres.url}
            redis.start()
            wait_for_port(redis.port, "Redis")
        store = None
        if hosts:
            from tests.support.object_store import ObjectStore  # needs moto

            store = ObjectStore()
            os.environ.update(store.environment)
            settings["STORAGE_URL"] = f"{BUCKET}/artifacts"
            fsspec.core.url_to_fs(BUCKET)[0].mkdir(BUCKET)
        clocks = [clock_off_by("+1h"), clock_off_by("-1h")] if hosts else [{}]
        variables = environment(**settings) | {MARK: mark, "OMP_NUM_THREADS": "1"}
        port = free_port()
        masktune = [sys.executable, "-m", "masktune.cli"]
        return cls(
            folder=folder,
            settings=settings,
            environment=variables,
            mark=mark,
            api=ServerProcess("api", [*masktune, "api", "--port", str(port)], variables, folder),
            api_port=port,
            workers=[
                ServerProcess(f"worker-{i + 1}", [*masktune, "worker"], variables | clock, folder)
                for i, clock in zip(range(workers), itertools.cycle(clocks), strict=False)
            ],
            redis=redis,
            postgres=postgres,
            store=store,
            proxy=Caddy(folder, marked_only, api=port) if hosts else None,
        )

    def start(self, *, workers: int | None = None) -> None:
        """Start every part that is not running; of the workers, the first so many."""
        if self.redis is not None:
            self.redis.start()
        self.api.start()
        for worker in self.workers[:workers]:
            worker.signal(signal.SIGCONT)
            worker.start()
        wait_for_port(self.api_port, "the API")
        if self.proxy is not None:
            self.proxy.start()
            wait_for_port(self.proxy.port, "the proxy")

    @property
    def url(self) -> str:
        """Where clients send their requests."""
        return f"http://127.0.0.1:{self.api_port}" if self.proxy is None else self.proxy.url

    @property
    def lease_seconds(self) -> float:
        return float(self.settings["LEASE_SECONDS"])

    @property
    def silent_seconds(self) -> float:
        """How long a child may be silent."""
        return float(self.settings["CHILD_SILENT_SECONDS"])

    def _servers(self) -> list[ServerProcess]:
        return [part for part in (self.redis, self.proxy) if part is not None]

    def children(self) -> dict[int, str]:
        """Pid → command of the processes that are not parts: the workers' children and their descendants."""
        parts = [self.api, *self.workers, *self._servers()]
        known = {part.process.pid for part in parts if part.process is not None}
        return {pid: command for pid, command in marked(self.mark).items() if pid not in known}

    def end(self) -> None:
        """End everything."""
        for part in (*self.workers, self.api, *self._servers()):
            part.end()
        if self.store is not None:
            self.store.stop()
        if self.postgres is not None:
            self.postgres.end()
