"""Control: ERM continued for MaskTune's budget, so that a difference is due to the masks alone."""

from __future__ import annotations

from masktune.contract.vocabulary import Stage
from models.masktune import continue_as_control
from models.runtime.distributed import process_group
from worker.results import TrainingResult
from worker.stages.context import StageContext
from worker.stages.forward.features import frozen_source
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def control(context: StageContext) -> TrainingResult:
    """Go on from the checkpoint that the finetune started from, with the same batches, without masks."""
    model = given_model(context)
    network, card = load(context, model)
    start, checkpoints = last_checkpoint(context, model), context.workspace.path / context.stage
    config = config_for(context, card)
    source = frozen_source(context, network)
    with process_group(context.run) as run:
        fitted = continue_as_control(
            network, context.store, config, run, folder=checkpoints, start=start, features=source
        )
        return publish(
            context,
            network,
            fitted,
            rank=run.rank,
            stage=Stage.CONTROL,
            checkpoints=checkpoints,
            erm_id=model.id,
        )
