"""What every part of a worker shares: settings, database, store and the two events of its slots."""

from __future__ import annotations

import os
import socket
import sys
import threading
from dataclasses import dataclass, field

from core.artifacts import Artifacts
from core.session import Database
from core.settings import Settings
from core.tracing import Tracing
from worker.supervisor.child_process import ChildProcess

CHILD = (sys.executable, "-m", "worker.child.process")
"""The command line of a job's child."""


@dataclass(frozen=True)
class Runtime:
    """One worker: all that its threads share."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    tracing: Tracing = field(default_factory=Tracing)
    child: tuple[str, ...] = CHILD
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set for good when the worker is to stop: running jobs go back to the queue."""
    wakeup: threading.Event = field(default_factory=threading.Event)
    """Set when there may be a new job: it ends the wait of the idle slots."""
    children: set[ChildProcess] = field(default_factory=set)
    """The processes of the running jobs."""

    @classmethod
    def open(
        cls, settings: Settings, *, child: tuple[str, ...] = CHILD, tracing: Tracing | None = None
    ) -> Runtime:
        """Connect to the database and the store of the settings."""
        return cls(
            settings=settings,
            database=Database(settings.database),
            artifacts=Artifacts(settings.storage, cache=settings.scratch / "cache"),
            tracing=tracing or Tracing(),
            child=child,
        )

    def close(self) -> None:
        self.tracing.close()
        self.database.close()
