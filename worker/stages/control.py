"""Control: ERM trained on for the budget of the finetune, without masks. What more epochs alone would do."""

from __future__ import annotations

from core.vocabulary import Arm
from models.distributed import joined
from models.masktune import continue_as_control
from worker.stages.context import Result, StageContext
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def control(context: StageContext) -> Result:
    """Train on from the checkpoint that the finetune started from, with the same batches."""
    model = given_model(context)
    network, card = load(context, model)
    start, checkpoints = last_checkpoint(context, model), context.workspace.folder(context.stage)
    config = config_for(context, card)
    with joined(context.run) as run:
        fitted = continue_as_control(network, context.store, config, run, folder=checkpoints, start=start)
        if run.rank > 0:
            return {}
        return publish(context, network, fitted, arm=Arm.CONTROL, checkpoints=checkpoints, erm_id=model.id)
