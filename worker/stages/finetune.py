"""Finetune: continue training on masked images only.

With several `iterations`, the masks of each further one are computed with the model finetuned by the last.
"""

from __future__ import annotations

from pathlib import Path

from masktune.contract.vocabulary import Arm, Stage
from models.masking.compute import load_or_compute_masks
from models.masking.store import MaskSet
from models.masktune import steps
from worker.context import StageContext
from worker.networks.features import frozen_source
from worker.networks.training import config_for, given_model, last_checkpoint, load, publish
from worker.results import MaskResult, TrainingResult


def finetune(context: StageContext) -> TrainingResult:
    """Finetune the masked model from its last checkpoint; the last epoch becomes the job's MaskTune model."""
    model = given_model(context)
    network, card = load(context, model)
    config, store, start = config_for(context, card), context.store, last_checkpoint(context, model)
    source = frozen_source(context, network, model=model.id)
    if source is not None:
        context.log("the backbone is frozen: the last layer alone is trained on the masked images")
    last = f"{Stage.FINETUNE}-{config.masking.iterations}"

    def folder(part: str) -> Path:
        return context.workspace.path / (Stage.FINETUNE if part == last else part)

    inputs = network, store, config, context.run

    def masks(iteration: int) -> MaskSet:
        if iteration == 0:  # those of the given mask set, else those of the job's mask stage
            mask_stage = context.spec.stage_result(MaskResult)
            artifact = context.spec.mask_set if mask_stage is None else mask_stage.artifact
            assert artifact is not None
            return MaskSet.open(context.artifacts.folder(artifact))
        mask_set = load_or_compute_masks(
            *inputs, folder=folder(f"masks-{iteration + 1}"), iteration=iteration
        )
        context.workspace.save()
        return mask_set

    step = next(steps(*inputs, folder=folder, features=source, first="masktune", start=start, masks=masks))
    erm_id = model.id if model.arm is not Arm.MASKTUNE else model.erm_id
    return publish(context, network, step.fit, stage=Stage.FINETUNE, checkpoints=folder(last), erm_id=erm_id)
