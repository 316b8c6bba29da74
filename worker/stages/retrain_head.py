"""Retrain head: keep the backbone and refit the last layer, balanced over labelled or inferred groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from masktune.contract.hyperparameters import GroupSource
from masktune.contract.report.text.groups import UNDIVIDED, UNDIVIDED_REASONS
from masktune.contract.vocabulary import Arm
from models.backbones.network import Network
from models.data.batches import Batch
from models.mitigation.finder import infer_minority
from models.mitigation.groups import Groups, cluster_groups, cross_mistakes, disagreement_groups, label_groups
from models.mitigation.stage_features import StageFeatures
from models.runtime.batched_eval import evaluating, map_batches
from models.saliency import saliency
from models.types import Labels, Maps
from worker.report.arms import LogitsCache
from worker.stages.context import Result, StageContext
from worker.stages.heads import fit_head, publish_head, training_features
from worker.stages.passes import loader_for
from worker.stages.training import given_model, load


def retrain_head(context: StageContext) -> Result:
    """Refit the last layer of the given model on its own features of the training split.

    After a kill, the stage reuses the computed features, and the fits draw the same random numbers again.
    """
    network, card = load(context, given_model(context))
    cache = LogitsCache(context, passes=3)  # the features, the groups, and the fits
    features = training_features(
        context,
        network,
        cache,
        frozen=bool(card.hyperparameters.get("freeze_backbone")),
        early=context.retraining.groups == "early_stages",
        folder=context.workspace.path / "features",
    )
    groups = balanced_groups(context, network, features, cache)
    if len(groups.names) <= len(context.store.classes):
        context.log(UNDIVIDED_REASONS.get(groups.details.get("reason"), UNDIVIDED))
    head = fit_head(context, network, features.last, groups, cache)
    return publish_head(
        context, network, head, features.last, arm=Arm.RETRAINED, hyperparameters=card.hyperparameters
    )


# --- where the groups come from ---------------------------------------------------------------


def balanced_groups(
    context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache
) -> Groups:
    """The groups, labelled or inferred as the job asks, that the last layer is balanced over."""
    return _SOURCES[context.retraining.groups](context, network, features, cache)


def _labels(context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache) -> Groups:
    store = context.store
    groups = store.groups[features.last.rows]
    return label_groups(features.last.labels, groups, classes=store.classes, names=store.group_names)


def _early_stages(
    context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache
) -> Groups:
    review = context.review
    minority = infer_minority(
        features,
        context.retraining.head,
        classes=context.store.classes,
        seed=context.run.seed,
        pictures=context.store.pictures(features.last.rows),
        clusters=context.store.clusters(features.last.rows),
        answers={} if review is None else {one.sample: one.lacks_pattern for one in review.answers},
        device=context.run.device,
        check=context.run.check,
    )
    return minority.explained_groups()


def _cross_mistakes(
    context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache
) -> Groups:
    return cross_mistakes(
        features.last,
        context.retraining.head,
        classes=context.store.classes,
        seed=context.run.seed,
        clusters=context.store.clusters(features.last.rows),
        device=context.run.device,
        check=context.run.check,
    )


def _disagreement(
    context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache
) -> Groups:
    second = cache.logits(context.spec.models[context.retraining.second_model or ""], "train")
    return disagreement_groups(
        features.last.labels,
        features.last.predictions,
        second.predictions,
        classes=context.store.classes,
        clusters=context.store.clusters(features.last.rows),
    )


def _saliency_clusters(
    context: StageContext, network: Network, features: StageFeatures, cache: LogitsCache
) -> Groups:
    return cluster_groups(
        features.last.labels,
        _maps_of_labels(context, network, features.last.rows, cache),
        classes=context.store.classes,
        seed=context.run.seed,
        pictures=context.store.pictures(features.last.rows),
    )


def _maps_of_labels(context: StageContext, network: Network, rows: Labels, cache: LogitsCache) -> Maps:
    """Saliency maps of each image's label, (N, h, w), as in ExMap."""

    def answer(batch: Batch) -> torch.Tensor:
        return saliency(network, batch.images, target=batch.labels).maps.float().cpu()

    with cache.passes.next() as run, evaluating(network):
        maps = list(map_batches(loader_for(context, network, rows, run), run, answer))
    return np.asarray(torch.cat(maps).numpy(), np.float32)


_SOURCES: Mapping[GroupSource, Callable[[StageContext, Network, StageFeatures, LogitsCache], Groups]] = {
    "labels": _labels,
    "early_stages": _early_stages,
    "cross_mistakes": _cross_mistakes,
    "disagreement": _disagreement,
    "saliency_clusters": _saliency_clusters,
}
