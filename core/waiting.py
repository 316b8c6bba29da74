"""What a queued job waits for, in words: the API's answer, which the dashboard and the command line show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

WORKER_SECONDS = 10.0
"""How long a job that could run may wait, while none runs, until it is assumed that there is no worker. An
idle worker looks for jobs at least once a second."""


@dataclass(frozen=True)
class Wait:
    """The facts about a queued job's wait. Times are in seconds since 1970, by one clock."""

    position: int
    """1 for the job that is claimed next."""
    running: int
    """Jobs that occupy the slots for which this one waits."""
    since: float | None
    """From when on the job may be claimed; ahead of `now` after an attempt that failed, None while its data
    set is being imported."""
    now: float
    imports_alone: bool
    """Whether these slots run nothing but imports."""


def waiting_for(wait: Wait) -> str:
    """What the job waits for, to follow "waiting for ". Stays the same while the facts do."""
    if wait.since is None:
        return "its data set, which is being imported"
    if wait.since > wait.now:
        return f"its next attempt, at {datetime.fromtimestamp(wait.since, UTC):%H:%M:%S} UTC"
    noun = "import" if wait.imports_alone else "job"
    before = wait.position - 1
    if not wait.running and wait.now - wait.since > WORKER_SECONDS:
        return f"a worker: none is running any {noun}, so make sure that `masktune worker` is running"
    counts = []
    if wait.running:
        counts.append(f"{_counted(wait.running, noun)} {'runs' if wait.running == 1 else 'run'}")
    if before:
        counts.append(f"{_counted(before, noun)} {'is' if before == 1 else 'are'} before it")
    return f"a free worker: {', '.join(counts)}" if counts else "a worker"


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
