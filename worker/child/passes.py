"""Computes shards of passes that a job of another worker makes, in a child that its helper has started."""

from __future__ import annotations

import logging

from core.loading import loading
from models.run import ignore_progress
from worker.child.failures import explain
from worker.child.runner import Job, kind_of
from worker.context import StageContext
from worker.passes.shards import ShardedPass, put_shard
from worker.protocol import PassOpened, PassSpec, ShardFinished

logger = logging.getLogger(__name__)


def rebuilt_pass(context: StageContext, opened: PassSpec) -> ShardedPass:
    """The pass as the job's own child made it.
    Only what it needs is imported: an import needs no torch."""
    match opened.name:
        case "import":
            from worker.stages.import_ import pass_of_job as import_pass

            return import_pass(context)
        case "predictions":
            from worker.stages.predict import pass_of_job as prediction_pass

            return prediction_pass(context)
        case "masks":
            from worker.stages.mask import rebuilt as mask_pass

            return mask_pass(context, opened.arguments)
        case name:
            assert name == "network"
            from worker.networks.passes import rebuilt as network_pass

            return network_pass(context, opened.arguments)


def serve_shards(job: Job) -> int:
    """Open each pass and compute each shard that comes, until this process is ended; return the exit code of
    a failure.

    Its progress is not the job's, whose own child counts the shards.
    """
    sharded: ShardedPass | None = None
    try:
        while True:
            order = job.orders.get()
            if (opened := order.opened) is not None:
                sharded = None  # before the next is in memory
                with loading():
                    context = job.context(opened.stage)
                    sharded = rebuilt_pass(context, opened)
                if context.key_of(sharded) != order.key:  # which has a digest of what the pass reads
                    logger.warning("%s: another pass is made of its description here", opened.title)
                    return 1
                job.reporter.send(PassOpened(kind=kind_of(job.device, opened.stage)))
            assert sharded is not None
            for number, write in sharded.compute(order.numbers, ignore_progress):
                double = not put_shard(job.artifacts, order.key, number, write)
                job.reporter.send(ShardFinished(number=number, double=double))
    except Exception as error:
        if explain(error) is None:
            raise
        logger.warning("the job cannot be helped: %s", error)
        return 1
