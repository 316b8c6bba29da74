"""Control: ERM continued for MaskTune's budget, so that a difference is due to the masks alone."""

from __future__ import annotations

from masktune.contract.vocabulary import Stage
from models.masktune import steps
from models.runtime.distributed import process_group
from worker.results import TrainingResult
from worker.stages.context import StageContext
from worker.stages.forward import frozen_source
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def control(context: StageContext) -> TrainingResult:
    """Go on from the checkpoint that the finetune started from, with the same batches, without masks."""
    model = given_model(context)
    network, card = load(context, model)
    start, config = last_checkpoint(context, model), config_for(context, card)
    source = frozen_source(context, network, model=model.id)
    with process_group(context.run) as run:
        inputs = network, context.store, config, run
        folder = context.workspace.path.joinpath
        step = next(steps(*inputs, folder=folder, features=source, first="control", start=start))
        return publish(
            context,
            network,
            step.fit,
            rank=run.rank,
            stage=Stage.CONTROL,
            checkpoints=folder(Stage.CONTROL),
            erm_id=model.id,
        )
