"""Finetune: continue training on masked images only.

With several `iterations`, the masks of each further one are computed with the model finetuned by the last.
"""

from __future__ import annotations

from pathlib import Path

from masktune.contract.vocabulary import Arm, Stage
from models import masktune
from models.masking.compute import load_or_compute_masks
from models.masking.store import MaskSet
from models.runtime.distributed import process_group
from worker.results import MaskResult, TrainingResult
from worker.stages.context import StageContext
from worker.stages.forward.features import frozen_source
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def finetune(context: StageContext) -> TrainingResult:
    """Finetune the masked model from its last checkpoint; the last epoch becomes the job's MaskTune model."""
    model = given_model(context)
    network, card = load(context, model)
    config, store, start = config_for(context, card), context.store, last_checkpoint(context, model)
    source = frozen_source(context, network)
    if source is not None:
        context.log("the backbone is frozen: the last layer alone is trained on the masked images")

    def checkpoints(iteration: int) -> Path:
        last = iteration == config.masking.iterations - 1
        return context.workspace.path / (context.stage if last else f"{context.stage}-{iteration + 1}")

    with process_group(context.run) as run:

        def masks(iteration: int) -> MaskSet:
            if iteration == 0:  # those of the given mask set, else those of the job's mask stage
                mask_stage = context.spec.stage_result(MaskResult)
                artifact = context.spec.mask_set if mask_stage is None else mask_stage.artifact
                assert artifact is not None
                return MaskSet.open(context.artifacts.folder(artifact))
            folder = context.workspace.path / f"masks-{iteration + 1}"
            mask_set = load_or_compute_masks(network, store, config, run, folder=folder, iteration=iteration)
            if run.rank == 0:
                context.workspace.save()
            return mask_set

        fitted, _ = masktune.finetune(
            *(network, store, config, run),
            start=start,
            masks=masks,
            checkpoints=checkpoints,
            features=source,
        )
        folder = checkpoints(config.masking.iterations - 1)
        erm_id = model.id if model.arm is not Arm.MASKTUNE else model.erm_id
        return publish(
            context, network, fitted, rank=run.rank, stage=Stage.FINETUNE, checkpoints=folder, erm_id=erm_id
        )
