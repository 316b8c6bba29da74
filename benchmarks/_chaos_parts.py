"""The service that benchmarks.chaos starts and breaks, with the servers it uses."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks._service import environment
from tests.support.servers import Part, Postgres, Redis, free_port, wait_for_port

MARK = "MASKTUNE_CHAOS"
"""Environment variable of every process that is started, inherited by the processes that it starts."""
SILENT_SECONDS = 45.0
"""How long a child may be silent here; loading torch alone may take a dozen seconds."""


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
    api: Part
    api_port: int
    workers: list[Part]
    redis: Redis | None
    postgres: Postgres | None

    @classmethod
    def open(
        cls, folder: Path, mark: str, *, servers: bool, persistent: bool, workers: int, threads: int
    ) -> Stack:
        """Start everything: on PostgreSQL and Redis if `servers`, else on SQLite without a broker."""
        folder.mkdir()
        marked_only = environment() | {MARK: mark}
        redis = Redis(folder, marked_only, persistent=persistent) if servers else None
        postgres = Postgres() if servers else None
        settings = {
            "DATA_DIR": str(folder / "data"),
            "THREADS": str(threads),
            "DEVICE": "cpu",
            "LEASE_SECONDS": "3",
            "HEARTBEAT_SECONDS": "0.3",
            "CONTROL_SECONDS": "0.1",
            "SWEEP_SECONDS": "0.5",
            "RETRY_BACKOFF_SECONDS": "0.1",
            "CHILD_SILENT_SECONDS": str(SILENT_SECONDS),
            # Kills are not the job's fault, so neither limit may end a job here.
            "MAX_ATTEMPTS": "100000",
            "MAX_CRASHES": "100000",
        }
        if redis is not None and postgres is not None:
            settings |= {"BROKER_URL": redis.url, "DATABASE_URL": postgres.url}
            redis.start()
            wait_for_port(redis.port, "Redis")
        variables = environment(**settings) | {MARK: mark, "OMP_NUM_THREADS": "1"}
        port = free_port()
        masktune = [sys.executable, "-m", "masktune.cli"]
        stack = cls(
            folder=folder,
            settings=settings,
            environment=variables,
            mark=mark,
            api=Part("api", [*masktune, "api", "--port", str(port)], variables, folder),
            api_port=port,
            workers=[
                Part(f"worker-{i + 1}", [*masktune, "worker"], variables, folder) for i in range(workers)
            ],
            redis=redis,
            postgres=postgres,
        )
        stack.start()
        return stack

    def start(self) -> None:
        """Start every part that is not running."""
        if self.redis is not None:
            self.redis.start()
        self.api.start()
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.start()
        wait_for_port(self.api_port, "the API")

    def children(self) -> dict[int, str]:
        """Pid → command of the processes that are not parts: the workers' children and their descendants."""
        parts = [self.api, *self.workers, *([self.redis] if self.redis else [])]
        known = {part.process.pid for part in parts if part.process is not None}
        return {pid: command for pid, command in marked(self.mark).items() if pid not in known}

    def end(self) -> None:
        """End everything."""
        for part in (*self.workers, self.api, *([self.redis] if self.redis else [])):
            part.end()
        if self.postgres is not None:
            self.postgres.end()
