"""Retrain head: keep the backbone and refit the last layer, balanced over labelled or inferred groups.

What the control shares stands here too: features, the fit, and the published artifact. The artifact
`jobs/{id}/{stage}` of either holds `head.json` (models.mitigation.retrain.RetrainedHead.to_json) and
`members.npz`, arrays over the training split in stored order: `rows`, `labels`, `assigned` (group of each
sample), `doubt` and `weights` (empty if the group source has none), `before` (predictions of the given
model), `held_out` (predictions by heads fitted in the same way on other samples).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypedDict

import numpy as np

from masktune.contract.hyperparameters import GroupSource
from masktune.contract.report.text.groups import UNDIVIDED, UNDIVIDED_REASONS
from masktune.contract.vocabulary import Arm, Stage
from models.backbones.network import Network
from models.mitigation.features import Features, head_of, install_head
from models.mitigation.groups import Groups, Source, cross_mistakes, label_groups
from models.mitigation.logistic import counting_steps
from models.mitigation.retrain import Candidate, RetrainedHead
from models.mitigation.retrain import retrain_head as refit
from models.mitigation.stage_features import StageFeatures
from models.run import Progress
from models.training.checkpoints import weights_digest
from models.types import Floats, Labels
from worker.context import StageContext
from worker.networks.features import FITS, NetworkFeatures, Passes
from worker.networks.training import given_model, load, publish_model
from worker.results import HeadResult, Json
from worker.stages.infer_groups import infer_training_groups, inferred_training_groups

HEAD, MEMBERS = "head.json", "members.npz"


def retrain_head(context: StageContext) -> HeadResult:
    """Refit the last layer of the given model on its own features of the training split.

    After a kill, the stage reuses the computed features, and the fits draw the same random numbers again.
    """
    model = given_model(context)
    network, card = load(context, model)
    passes = Passes(context.run, 1 + FITS)
    with passes.next() as run:
        features = NetworkFeatures.of_model(context, network, card, model).stages(run)
    groups = balanced_groups(context, features, passes)
    if len(groups.names) <= len(context.store.classes):
        context.log(UNDIVIDED_REASONS.get(groups.details.get("reason"), UNDIVIDED))
    head = fit_head(context, network, features.last, groups, passes)
    return publish_head(
        context, network, head, features.last, stage=Stage.RETRAIN_HEAD, hyperparameters=card.hyperparameters
    )


# --- where the groups come from ---------------------------------------------------------------


def balanced_groups(context: StageContext, features: StageFeatures, passes: Passes) -> Groups:
    """The groups, labelled or inferred as the job asks, that the last layer is balanced over."""
    return _SOURCES[context.retraining.groups](context, features, passes)


def _labels(context: StageContext, features: StageFeatures, _: Passes) -> Groups:
    store, rows = context.store, features.last.rows
    return label_groups(
        features.last.labels,
        store.groups[rows],
        classes=store.classes,
        names=store.group_names,
        clusters=store.clusters(rows),
    )


def _early_stages(context: StageContext, features: StageFeatures, passes: Passes) -> Groups:
    """Those of the job's own stage; another seed's are inferred here."""
    if Stage.INFER_GROUPS in context.spec.done:
        return inferred_training_groups(context)
    return infer_training_groups(context, features, context.retraining.head, passes).explained_groups()


def _cross_mistakes(context: StageContext, features: StageFeatures, _: Passes) -> Groups:
    return cross_mistakes(
        features.last,
        context.retraining.head,
        classes=context.store.classes,
        seed=context.run.seed,
        clusters=context.store.clusters(features.last.rows),
        device=context.run.device,
        check=context.run.check,
    )


_SOURCES: Mapping[GroupSource, Callable[[StageContext, StageFeatures, Passes], Groups]] = {
    "labels": _labels,
    "early_stages": _early_stages,
    "cross_mistakes": _cross_mistakes,
}


# --- what the control shares ----------------------------------------------------------------------


def fit_head(
    context: StageContext,
    network: Network,
    features: Features,
    groups: Groups,
    passes: Passes,
) -> RetrainedHead:
    """Fit a head balanced over `groups` and install it in the network."""
    with passes.next(FITS) as run:
        head = refit(
            network,
            features,
            groups,
            context.retraining.head,
            seed=run.seed,
            clusters=context.store.clusters(features.rows),
            device=run.device,
            check=counting_steps(run, len(context.retraining.head.penalties) + 1),
        )
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
    return head


def adopt_head(context: StageContext, network: Network, groups: Groups) -> RetrainedHead | None:
    """Install the job's retrained head if it was balanced over the same groups, so that a fit would only find
    it again; None if it was balanced over others."""
    members, head = read_head(context, Stage.RETRAIN_HEAD)
    if not np.array_equal(members.assigned, groups.assigned):
        return None
    retrained, _ = load(context, context.spec.models[context.spec.model_ids[Arm.RETRAINED]])
    weights = head_of(retrained)
    install_head(network, weights)
    candidates = tuple(Candidate(**candidate) for candidate in head["candidates"])
    return RetrainedHead(weights, head["penalty"], candidates, members.held_out, groups)


def publish_head(
    context: StageContext,
    network: Network,
    head: RetrainedHead,
    features: Features,
    *,
    stage: Literal[Stage.RETRAIN_HEAD, Stage.HEAD_CONTROL],
    hyperparameters: Mapping[str, object],
) -> HeadResult:
    """Publish the model and the artifact; return the stage's result.

    The new model is paired with the given model's ERM model if it has one, else with the given model itself.
    """
    source, artifact = given_model(context), context.key(stage)
    arm = Arm.RETRAINED if stage is Stage.RETRAIN_HEAD else Arm.RETRAINED_CONTROL
    params = {**hyperparameters, "retrain_head": context.retraining.to_json()}
    model = publish_model(context, network, arm=arm, erm_id=source.erm_id or source.id, params=params)
    groups = head.groups
    members = Members(
        rows=features.rows,
        labels=features.labels,
        assigned=groups.assigned,
        doubt=np.empty(0) if groups.doubt is None else groups.doubt,
        weights=np.empty(0) if groups.weights is None else groups.weights,
        before=features.predictions,
        held_out=head.held_out,
    )
    with context.artifacts.writing(artifact) as folder:
        np.savez_compressed(folder / MEMBERS, **members._asdict())
        (folder / HEAD).write_text(json.dumps(head.to_json(), ensure_ascii=False))
    return HeadResult(
        stage=stage,
        artifact=artifact,
        model=model,
        weights=weights_digest(network.model),
        penalty=head.penalty,
        groups=groups.counts,
    )


class HeadFile(TypedDict):
    """The content of `head.json`."""

    groups: Source
    inferred: bool
    counts: dict[str, int]
    details: Json
    penalty: float
    candidates: list[dict[str, float]]


def read_head(context: StageContext, stage: Stage) -> tuple[Members, HeadFile]:
    """What that stage of the job has published."""
    stage_result = context.spec.done[stage]
    assert isinstance(stage_result, HeadResult)
    folder = context.artifacts.folder(stage_result.artifact)
    head: HeadFile = json.loads((folder / HEAD).read_text())
    return Members.load(folder / MEMBERS), head


class Members(NamedTuple):
    """The training split as used by a fit, arrays of (N,); see the module's docstring."""

    rows: Labels
    labels: Labels
    assigned: Labels
    doubt: Floats
    weights: Floats
    before: Labels
    held_out: Labels

    @classmethod
    def load(cls, file: Path) -> Self:
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})
