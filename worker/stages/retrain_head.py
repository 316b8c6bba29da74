"""Retrain head: keep the backbone and refit the last layer, balanced over labelled or inferred groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from masktune.contract.hyperparameters import GroupSource
from masktune.contract.report.text.groups import UNDIVIDED, UNDIVIDED_REASONS
from masktune.contract.vocabulary import Stage
from models.mitigation.finder import infer_minority
from models.mitigation.groups import Groups, cross_mistakes, label_groups
from models.mitigation.stage_features import StageFeatures
from worker.results import HeadResult
from worker.stages.context import StageContext
from worker.stages.forward import LogitsCache
from worker.stages.heads import fit_head, publish_head, training_features
from worker.stages.training import given_model, load


def retrain_head(context: StageContext) -> HeadResult:
    """Refit the last layer of the given model on its own features of the training split.

    After a kill, the stage reuses the computed features, and the fits draw the same random numbers again.
    """
    network, card = load(context, given_model(context))
    cache = LogitsCache(context, passes=2)  # the features and the fits
    features = training_features(
        context,
        network,
        cache,
        frozen=bool(card.hyperparameters.get("freeze_backbone")),
        early=context.retraining.groups == "early_stages",
        folder=context.workspace.path / "features",
    )
    groups = balanced_groups(context, features)
    if len(groups.names) <= len(context.store.classes):
        context.log(UNDIVIDED_REASONS.get(groups.details.get("reason"), UNDIVIDED))
    head = fit_head(context, network, features.last, groups, cache)
    return publish_head(
        context, network, head, features.last, stage=Stage.RETRAIN_HEAD, hyperparameters=card.hyperparameters
    )


# --- where the groups come from ---------------------------------------------------------------


def balanced_groups(context: StageContext, features: StageFeatures) -> Groups:
    """The groups, labelled or inferred as the job asks, that the last layer is balanced over."""
    return _SOURCES[context.retraining.groups](context, features)


def _labels(context: StageContext, features: StageFeatures) -> Groups:
    store = context.store
    groups = store.groups[features.last.rows]
    return label_groups(features.last.labels, groups, classes=store.classes, names=store.group_names)


def _early_stages(context: StageContext, features: StageFeatures) -> Groups:
    review = context.spec.review
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


def _cross_mistakes(context: StageContext, features: StageFeatures) -> Groups:
    return cross_mistakes(
        features.last,
        context.retraining.head,
        classes=context.store.classes,
        seed=context.run.seed,
        clusters=context.store.clusters(features.last.rows),
        device=context.run.device,
        check=context.run.check,
    )


_SOURCES: Mapping[GroupSource, Callable[[StageContext, StageFeatures], Groups]] = {
    "labels": _labels,
    "early_stages": _early_stages,
    "cross_mistakes": _cross_mistakes,
}
