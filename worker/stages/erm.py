"""ERM: the plain first training, by empirical risk minimisation."""

from __future__ import annotations

from masktune.contract.vocabulary import Arm
from models.masktune import fit_erm
from models.training.distributed import process_group
from worker.stages.context import Result, StageContext
from worker.stages.features import frozen_source
from worker.stages.training import fresh_network, publish


def erm(context: StageContext) -> Result:
    """Train, and publish the epoch with the best plain accuracy on val as the job's ERM model."""
    network, checkpoints = fresh_network(context), context.workspace.folder(context.stage)
    source = frozen_source(context, network)
    with process_group(context.run) as run:
        fitted = fit_erm(network, context.store, context.params, run, folder=checkpoints, features=source)
        if run.rank > 0:
            return {}
        return publish(context, network, fitted, arm=Arm.ERM, checkpoints=checkpoints)
