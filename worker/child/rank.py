"""`python -m worker.child.rank FOLDER STAGE`: one of torchrun's processes for a training stage."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from core import logs
from core.loading import loading
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.vocabulary import Stage
from models.runtime.process import keep_freed_memory, prepare_process
from worker.child.pipes import ParentWatch, Reporter
from worker.child.ranks import FAILURE, RESULT, SPEC
from worker.protocol import Spec
from worker.results import result_to_json
from worker.workspace import Workspace

logger = logging.getLogger(__name__)


def main(folder: Path, stage: Stage) -> int:
    """Run this rank's part of the stage and return the exit code. Rank 0 also writes the stage's result.

    An error of the stage is logged and ends this rank; the other ranks, which wait for it, then end too.
    """
    keep_freed_memory()
    reporter = Reporter.take_stdout()
    faulthandler.register(signal.SIGUSR1)
    ParentWatch(0).watch()  # nothing is ever written to stdin; its end-of-file means that the child is gone
    spec, settings = Spec.from_line((folder / SPEC).read_bytes()), Settings()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    ids = {"job_id": spec.job_id, "request_id": spec.request_id, "rank": str(rank)}
    logs.setup(settings.log_level, settings.log_format, **ids)
    artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache", alive=reporter.alive)
    artifacts.outlast()
    workspace = Workspace(artifacts, spec.job_id, scratch=settings.scratch)
    threads = max(1, workspace.threads(count) // count)

    with loading():
        prepare_process(threads)
        from worker.child.failures import explain
        from worker.child.runner import Job, stage_function

        function = stage_function(stage)

    job = Job(
        spec=spec,
        settings=settings,
        artifacts=artifacts,
        workspace=workspace,
        reporter=reporter,
        threads=threads,
        should_stop=lambda: False,  # SIGTERM and end-of-file on stdin end a rank at once
    )
    try:
        stage_result = function(job.context(stage))
    except Exception as error:  # unexpected errors too: `os._exit` must skip the interpreter's shutdown
        logger.exception("rank %d gave up", rank)
        failure = explain(error)
        if failure is not None:
            _write(folder / FAILURE, json.dumps(asdict(failure)))
        return 1
    if rank == 0:
        _write(folder / RESULT, json.dumps(result_to_json(stage_result)))
    return 0


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Stage(sys.argv[2]))
    logging.shutdown()
    os._exit(code)
