"""`python -m worker.child.process [--spare]`: runs the stages of one job for the supervisor that holds its
pipes."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
from types import FrameType

from core import logs
from core.loading import loaded, loading
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.vocabulary import JobKind
from models.runtime.process import keep_freed_memory, prepare_process, prepare_without_torch
from worker.child.pipes import ParentWatch, Reporter
from worker.child_process import MARK
from worker.protocol import SPARE, STOPPED, Spec
from worker.workspace import Workspace, usual_threads

logger = logging.getLogger(__name__)


def main() -> int:
    """Return the exit code: 0 if the outcome was reported to the supervisor, `STOPPED` if asked to stop
    or if there was no job."""
    keep_freed_memory()  # before a second thread starts, which would get its own malloc arena
    reporter = Reporter.take_stdout()
    faulthandler.register(signal.SIGUSR1)  # dumps all threads, even if all are stuck in native code
    parent = ParentWatch(0)
    settings = Settings()
    if SPARE in sys.argv:
        load_ahead(usual_threads(settings))
    try:
        spec = Spec.from_line(parent.first_line())
    except EOFError:  # the worker ended before it had a job for this process
        return STOPPED
    parent.watch()
    logs.setup(settings.log_level, settings.log_format, job_id=spec.job_id, request_id=spec.request_id)
    artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache", alive=reporter.alive)
    artifacts.outlast()
    workspace, threads = _workspace(spec, artifacts, settings)

    prepare = prepare_without_torch if spec.kind is JobKind.IMPORT else prepare_process
    with loading():
        prepare(threads)  # before anything else imports torch
        from worker.child.runner import Job
    loaded()

    helps = spec.shard_threads is not None
    stop = threading.Event() if helps else stop_on_sigterm()
    job = Job(
        spec=spec,
        settings=settings,
        artifacts=artifacts,
        workspace=workspace,
        reporter=reporter,
        orders=parent.orders,
        threads=threads,
        should_stop=stop.is_set,
    )
    reporter.alive()
    if not helps:
        return job.run()
    from worker.child.passes import serve_shards

    return serve_shards(job)


def _workspace(spec: Spec, artifacts: Artifacts, settings: Settings) -> tuple[Workspace, int]:
    """The job's work folder, and its number of threads.
    One that only helps leaves the folder alone."""
    if spec.shard_threads is not None:
        mark = os.environ[MARK]
        workspace = Workspace.of_helper(artifacts, spec.job_id, scratch=settings.scratch, mark=mark)
        return workspace, spec.shard_threads
    workspace = Workspace.started(artifacts, spec.job_id, scratch=settings.scratch)
    return workspace, workspace.threads(usual_threads(settings))


def load_ahead(threads: int) -> None:
    """Load what a job needs that is no import, so that it starts at once."""
    with loading():
        prepare_process(threads)  # before anything else imports torch
        from worker.child.runner import load_stages

        load_stages()


def stop_on_sigterm() -> threading.Event:
    """An event that SIGTERM sets.
    Without this call SIGTERM ends the process, which has no work to lose."""
    stop = threading.Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, request_stop)
    return stop


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # Skip the interpreter's shutdown: tearing down torch and CUDA would hold the device for another second.
    os._exit(code if code in (0, STOPPED) else 1)
