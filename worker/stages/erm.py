"""ERM: the plain first training, by empirical risk minimisation."""

from __future__ import annotations

from masktune.contract.vocabulary import Stage
from models.masktune import steps
from worker.context import StageContext
from worker.networks.features import frozen_source
from worker.networks.training import publish, untrained_network
from worker.results import TrainingResult


def erm(context: StageContext) -> TrainingResult:
    """Train, and publish the epoch with the best plain accuracy on val as the job's ERM model."""
    network, folder = untrained_network(context), context.workspace.path.joinpath
    source = frozen_source(context, network)
    step = next(steps(network, context.store, context.params, context.run, folder=folder, features=source))
    return publish(context, network, step.fit, stage=Stage.ERM, checkpoints=folder(Stage.ERM))
