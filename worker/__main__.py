"""`python -m worker`: one worker, until SIGTERM."""

from __future__ import annotations

import sys
from contextlib import closing

from core import logs, schema
from core.settings import Settings
from core.tracing import open_tracing
from worker.celery import run
from worker.runtime import Runtime
from worker.supervisor.shutdown import end_in_time
from worker.supervisor.sweeper import sweeping


def main(settings: Settings | None = None) -> int:
    """Serve jobs until SIGTERM, which gives running jobs back; returns the exit code."""
    settings = settings or Settings()
    logs.setup(settings.log_level, settings.log_format)
    tracing = open_tracing(settings, "masktune-worker")
    schema.upgrade(settings.database)
    with closing(Runtime.open(settings, tracing=tracing)) as runtime:
        return serve(runtime)


def serve(runtime: Runtime) -> int:
    """Work and sweep until SIGTERM; returns the exit code."""
    end_in_time(runtime)
    with sweeping(runtime):
        return run(runtime)


if __name__ == "__main__":
    sys.exit(main())
