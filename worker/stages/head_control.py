"""Head control: the last layer balanced over classes alone, so that a difference is due to the groups."""

from __future__ import annotations

from masktune.contract.vocabulary import Stage
from models.mitigation.groups import class_groups
from worker.context import StageContext
from worker.networks.features import FITS, NetworkFeatures, Passes
from worker.networks.training import given_model, load
from worker.results import HeadResult
from worker.stages.retrain_head import adopt_head, fit_head, publish_head


def head_control(context: StageContext) -> HeadResult:
    """Fit the head on the same features with the same rule for its penalty, balanced over classes only.

    Where no class was divided, the retrained head is that already.
    """
    model = given_model(context)
    network, card = load(context, model)
    passes = Passes(context.run, 1 + FITS)
    with passes.next() as run:
        features = NetworkFeatures.of_model(context, network, card, model).stages(run).last
    groups = class_groups(features.labels, context.store.classes)
    head = adopt_head(context, network, groups) or fit_head(context, network, features, groups, passes)
    return publish_head(
        context, network, head, features, stage=Stage.HEAD_CONTROL, hyperparameters=card.hyperparameters
    )
