"""Finetune: continue training on masked images only.

With several `iterations`, the masks of each further one are computed with the model finetuned by the last.
"""

from __future__ import annotations

from pathlib import Path

from masktune.contract.vocabulary import Arm, Stage
from models.masking.compute import MaskSet, union
from models.masktune import compute_masks, finetune_on_masks
from models.training.checkpoints import CheckpointFolder
from models.training.distributed import joined
from worker.stages.context import Result, StageContext
from worker.stages.features import frozen_source
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def finetune(context: StageContext) -> Result:
    """Finetune the masked model from its last checkpoint; the last epoch becomes the job's MaskTune model."""
    model = given_model(context)
    network, card = load(context, model)
    config, store, start = config_for(context, card), context.store, last_checkpoint(context, model)
    sets = [MaskSet.open(_first_masks(context))]
    source = frozen_source(context, network)
    if source is not None:
        context.say("the backbone is frozen: the last layer alone is trained on the masked images")
    with joined(context.run) as run:
        for iteration in range(config.masking.iterations):
            if iteration > 0:
                folder = context.workspace.folder(f"masks-{iteration + 1}")
                sets.append(compute_masks(network, store, config, run, folder=folder, iteration=iteration))
                if run.rank == 0:
                    context.workspace.save()
            last = iteration == config.masking.iterations - 1
            checkpoints = context.workspace.folder(
                context.stage if last else f"{context.stage}-{iteration + 1}"
            )
            fitted = finetune_on_masks(
                network,
                store,
                config,
                run,
                folder=checkpoints,
                start=start,
                masks=union(sets) if config.masking.accumulate else sets[-1],
                iteration=iteration,
                features=source,
            )
            start = CheckpointFolder(checkpoints).last()
        if run.rank > 0:
            return {}
        erm_id = model.id if model.arm is not Arm.MASKTUNE else model.erm_id
        return publish(context, network, fitted, arm=Arm.MASKTUNE, checkpoints=checkpoints, erm_id=erm_id)


def _first_masks(context: StageContext) -> Path:
    """The mask set that the job was given, else the one that its mask stage made."""
    given = context.spec.mask_set
    return context.artifacts.folder(given.artifact if given else context.spec.done[Stage.MASK]["artifact"])
