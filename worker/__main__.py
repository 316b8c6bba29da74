"""`python -m worker`: one worker, until SIGTERM."""

from __future__ import annotations

import logging
import sys

from core import schema
from core.settings import Settings
from worker.celery import run
from worker.runtime import Runtime
from worker.sweeper import sweeping


def main(settings: Settings | None = None) -> int:
    """Serve jobs until SIGTERM, which gives running jobs back; returns the exit code."""
    settings = settings or Settings()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    schema.upgrade(settings.database)
    runtime = Runtime.open(settings)
    try:
        with sweeping(runtime):
            return run(runtime)
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(main())
