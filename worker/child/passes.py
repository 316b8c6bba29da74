"""Computes shards of passes that a job of another worker makes, in a child that its helper has started."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from queue import SimpleQueue

from core.loading import loading
from worker.child.failures import explain
from worker.child.runner import Job, kind_of
from worker.passes.shards import Arguments, ShardedPass, compute_shard
from worker.protocol import PassOpened, ShardFinished
from worker.shard_tasks import PassSpec, ShardTask
from worker.stages.context import StageContext

logger = logging.getLogger(__name__)

_MODULES = {
    "import": "worker.stages.import_",
    "predictions": "worker.stages.predict",
    "network": "worker.stages.features",
    "masks": "worker.stages.mask",
}
"""Where the pass of each name is rebuilt, by the function `sharded_pass`."""


def rebuilt_pass(context: StageContext, spec: PassSpec) -> ShardedPass:
    """The pass as the job's own child made it."""
    rebuild: Callable[[StageContext, Arguments], ShardedPass]
    rebuild = import_module(_MODULES[spec.pass_name]).sharded_pass
    return rebuild(context, spec.arguments)


def serve_shards(job: Job, tasks: SimpleQueue[ShardTask]) -> int:
    """Compute each shard that comes, until this process is ended; return the exit code of a failure.

    Its progress is not the job's, whose own child counts the shards.
    """
    spec, sharded = None, None
    try:
        while True:
            task = tasks.get()
            if spec != task.sharded:
                spec, sharded = task.sharded, None  # before the next is in memory
                job.reporter.send(PassOpened(kind=kind_of(job.device, spec.stage)))
                with loading():
                    sharded = rebuilt_pass(job.context(spec.stage), spec)
                if sharded.key != spec.key:  # which has a digest of what the pass reads
                    logger.warning("%s: another pass is made of its description here", spec.title)
                    return 1
            assert sharded is not None
            double = compute_shard(sharded, job.artifacts, task.number, attempt=job.spec.attempt_name)
            job.reporter.send(ShardFinished(number=task.number, double=double))
    except Exception as error:
        if explain(error) is None:
            raise
        logger.warning("the job cannot be helped: %s", error)
        return 1
