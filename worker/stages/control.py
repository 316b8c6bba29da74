"""Control: ERM continued for MaskTune's budget, so that a difference is due to the masks alone."""

from __future__ import annotations

from masktune.contract.vocabulary import Stage
from models.masktune import steps
from worker.context import StageContext
from worker.networks.features import frozen_source
from worker.networks.training import config_for, given_model, last_checkpoint, load, publish
from worker.results import TrainingResult


def control(context: StageContext) -> TrainingResult:
    """Go on from the checkpoint that the finetune started from, with the same batches, without masks."""
    model = given_model(context)
    network, card = load(context, model)
    start, config = last_checkpoint(context, model), config_for(context, card)
    source = frozen_source(context, network, model=model.id)
    inputs = network, context.store, config, context.run
    folder = context.workspace.path.joinpath
    step = next(steps(*inputs, folder=folder, features=source, first="control", start=start))
    checkpoints = folder(Stage.CONTROL)
    return publish(context, network, step.fit, stage=Stage.CONTROL, checkpoints=checkpoints, erm_id=model.id)
