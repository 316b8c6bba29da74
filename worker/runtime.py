"""What every part of a worker shares: settings, database, store, and what stops or wakes its slots."""

from __future__ import annotations

import os
import socket
import sys
import threading
from dataclasses import dataclass, field

from core.notifications import JobNotifier
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tracing import Tracing
from worker.child_process import ChildProcess

CHILD = (sys.executable, "-m", "worker.child.process")
"""The command line of a job's child."""


class Wakeup:
    """Ends the waits of all idle slots, also of one that has looked for a job and does not wait yet."""

    def __init__(self) -> None:
        self._calls, self._called = 0, threading.Condition()

    @property
    def calls(self) -> int:
        """How often it was called.
        A slot reads it before it looks for a job."""
        return self._calls

    def call(self) -> None:
        with self._called:
            self._calls += 1
            self._called.notify_all()

    def wait(self, calls: int, seconds: float) -> None:
        """Return once it was called more often than `calls` times, or after so many seconds."""
        with self._called:
            self._called.wait_for(lambda: self._calls > calls, seconds)


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
    wakeup: Wakeup = field(default_factory=Wakeup)
    """Called when there may be a new job, or a new pass of one."""
    notifier: JobNotifier = field(default_factory=lambda: JobNotifier(""))
    """Tells the other workers of a new pass."""
    children: set[ChildProcess] = field(default_factory=set)
    """The processes of the running jobs, and those that help the jobs of other workers."""

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
            notifier=JobNotifier(settings.broker_url),
        )

    def start_child(self, *arguments: str) -> ChildProcess:
        """A new process for a job, which `end_child` must end.
        Raises `OSError` if the host has no room."""
        child = ChildProcess((*self.child, *arguments), environment=environment(self.settings))
        self.children.add(child)
        return child

    def end_child(self, child: ChildProcess) -> None:
        """Return once the process and all that it started are gone."""
        child.end(self.settings.end_grace_seconds)
        self.children.discard(child)

    def close(self) -> None:
        self.notifier.close()
        self.tracing.close()
        self.database.close()


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child: that of this process plus its effective settings, without the API keys."""
    public = settings.model_dump(mode="json", exclude={"api_keys"})
    variables = {
        f"MASKTUNE_{name.upper()}": str(setting) for name, setting in public.items() if setting is not None
    }
    own = {name: text for name, text in os.environ.items() if name != "MASKTUNE_API_KEYS"}
    return own | variables
