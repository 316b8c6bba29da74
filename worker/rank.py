"""`python -m worker.rank FOLDER STAGE`: one of the processes that torchrun starts for a training."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from pathlib import Path

from core import logs
from core.artifacts import Artifacts
from core.loading import loading
from core.settings import Settings
from core.vocabulary import Stage
from models.process import keep_freed_memory
from worker.lifeline import Lifeline
from worker.ranks import FAILURE, RESULT, SPEC
from worker.reporter import Reporter
from worker.spec import Spec
from worker.workspace import Workspace

logger = logging.getLogger(__name__)


def main(folder: Path, stage: Stage) -> int:
    """Run this rank's part; the first rank reports, and writes the result. Returns the exit code.

    An error of the stage is told and ends here: the others, which wait for this rank, end when it does.
    """
    keep_freed_memory()
    reporter = Reporter.take_stdout()
    faulthandler.register(signal.SIGUSR1)
    Lifeline(0).watch()  # nothing is ever written there: its end is the message
    spec, settings = Spec.from_line((folder / SPEC).read_bytes()), Settings()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    logs.setup(
        settings.log_level,
        settings.log_format,
        job_id=spec.job_id,
        request_id=spec.request_id,
        rank=str(rank),
    )
    artifacts = Artifacts(settings.storage, cache=settings.scratch / "cache", alive=reporter.alive)
    artifacts.outlast()
    workspace = Workspace(artifacts, spec.job_id, scratch=settings.scratch)
    threads = max(1, workspace.threads(count) // count)

    from models.process import prepare_process

    with loading():
        prepare_process(threads)
        from worker.failures import KNOWN, explain
        from worker.job import Job
        from worker.stages import stage_function

        function = stage_function(stage)

    job = Job(
        spec=spec,
        settings=settings,
        artifacts=artifacts,
        workspace=workspace,
        reporter=reporter,
        threads=threads,
        should_stop=lambda: False,  # SIGTERM and the end of stdin end a rank where it stands
    )
    try:
        result = function(job.context(stage, job.meter()))
    except Exception as error:  # an unforeseen one, too: nothing may run at the interpreter's end
        logger.exception("rank %d gave up", rank)
        explained = explain(error) if isinstance(error, KNOWN) else None
        if explained is not None:
            _write(folder / FAILURE, {"error": explained[0], "retry": explained[1]})
        return 1
    if rank == 0:
        _write(folder / RESULT, dict(result))
    return 0


def _write(path: Path, value: dict[str, object]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(value))
    partial.replace(path)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), Stage(sys.argv[2]))
    logging.shutdown()
    os._exit(code)
