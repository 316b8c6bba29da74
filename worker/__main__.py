"""`python -m worker`: one worker, until SIGTERM."""

from __future__ import annotations

import sys
from contextlib import closing

from core import logs, schema
from core.settings import Settings
from core.tracing import open_tracing
from worker.celery import run
from worker.runtime import Runtime
from worker.sweeper import sweeping


def main(settings: Settings | None = None) -> int:
    """Serve jobs until SIGTERM, which gives running jobs back; returns the exit code."""
    settings = settings or Settings()
    logs.setup(settings.log_level, settings.log_format)
    tracing = open_tracing(settings, "masktune-worker")
    schema.upgrade(settings.database)
    with closing(Runtime.open(settings, tracing=tracing)) as runtime, sweeping(runtime):
        return run(runtime)


if __name__ == "__main__":
    sys.exit(main())
