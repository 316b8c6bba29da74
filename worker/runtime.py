"""What every part of a worker shares: settings, database, store, doorbell and the stop event."""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from dataclasses import dataclass, field

from core.artifacts import Artifacts
from core.notifications import Doorbell
from core.session import Database
from core.settings import Settings
from core.tracing import Tracing
from worker.supervisor.child_process import ChildProcess

CHILD = (sys.executable, "-m", "worker.child.process")
"""The command line of a job's child."""


@dataclass(frozen=True)
class Runtime:
    """One worker. `slots` holds the numbers of its idle slots; each slot runs one job at a time."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    doorbell: Doorbell
    tracing: Tracing = field(default_factory=Tracing)
    child: tuple[str, ...] = CHILD
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    stopping: threading.Event = field(default_factory=threading.Event)
    slots: queue.SimpleQueue[int] = field(default_factory=queue.SimpleQueue)
    children: set[ChildProcess] = field(default_factory=set)
    """The processes of the running jobs."""

    @classmethod
    def open(
        cls, settings: Settings, *, child: tuple[str, ...] = CHILD, tracing: Tracing | None = None
    ) -> Runtime:
        """Connect to the database, store and broker of the settings."""
        runtime = cls(
            settings=settings,
            database=Database(settings.database),
            artifacts=Artifacts(settings.storage, cache=settings.scratch / "cache"),
            doorbell=Doorbell(settings.broker),
            tracing=tracing or Tracing(),
            child=child,
        )
        for slot in range(settings.worker_slots):
            runtime.slots.put(slot)
        return runtime

    def close(self) -> None:
        self.doorbell.close()
        self.tracing.close()
        self.database.close()
