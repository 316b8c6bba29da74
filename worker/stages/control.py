"""Control: the same budget without the treatment, so that a difference is due to that alone."""

from __future__ import annotations

from masktune.contract.vocabulary import Arm, JobKind
from models.backbones.network import Network
from models.export import ModelCard
from models.masktune import continue_as_control
from models.mitigation.groups import class_groups
from models.training.distributed import process_group
from worker.report.arms import LogitsCache
from worker.stages.context import Result, StageContext
from worker.stages.features import frozen_source
from worker.stages.heads import fit_head, publish_head, training_features
from worker.stages.training import config_for, given_model, last_checkpoint, load, publish


def control(context: StageContext) -> Result:
    """For a retrained head, the same fit without groups; else, ERM continued without masks.

    ERM goes on from the checkpoint that the finetune started from, with the same batches.
    """
    model = given_model(context)
    network, card = load(context, model)
    if context.spec.kind is JobKind.RETRAIN_HEAD:
        return _plain_head(context, network, card)
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
            arm=Arm.MASKTUNE_CONTROL,
            checkpoints=checkpoints,
            erm_id=model.id,
        )


def _plain_head(context: StageContext, network: Network, card: ModelCard) -> Result:
    """Fit the head on the same features with the same rule for its penalty, balanced over classes only."""
    cache = LogitsCache(context, passes=2)
    features = training_features(context, network, card, cache, early=False).last
    groups = class_groups(features.labels, context.store.classes)
    head = fit_head(context, network, features, groups, cache)
    return publish_head(
        context, network, head, features, arm=Arm.RETRAINED_CONTROL, hyperparameters=card.hyperparameters
    )
