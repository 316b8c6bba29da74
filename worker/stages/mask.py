"""Mask: threshold the model's saliency map of every training image."""

from __future__ import annotations

import shutil

from masktune.contract.report.report import MaskSummary
from masktune.contract.report.text.notes import empty_masks
from models.data.loading.loaders import map_loader
from models.masking.compute import compute_mask_set
from models.sigmas import fix_sigmas
from worker.results import MaskResult
from worker.stages.context import StageContext
from worker.stages.training import config_for, given_model, load


def mask(context: StageContext) -> MaskResult:
    """Compute and publish the mask set of the training split in one pass."""
    network, card = load(context, given_model(context))
    config, choice = fix_sigmas(network, context.store, config_for(context, card), context.run)
    if choice is not None:
        context.log(f"masks above mean + {choice.sigmas:g} standard deviations: {choice.reason}")
    loader = map_loader(context.store, config, context.run)
    folder, artifact = context.workspace.path / "masks-1", context.key(context.stage)
    shutil.rmtree(folder, ignore_errors=True)  # from an attempt that was killed before it reported
    summary = compute_mask_set(network, loader, config.masking, context.run, folder=folder)
    context.artifacts.put(folder, artifact)
    if empty := empty_masks(MaskSummary.model_validate(summary)):
        context.log(empty)
    return MaskResult(
        artifact=artifact,
        summary=summary,
        sigmas=choice,
        images_per_second=round(summary.images_per_second, 1),
    )
