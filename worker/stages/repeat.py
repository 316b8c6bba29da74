"""Repeat: train every arm again with each further seed, for a verdict over all seeds.

The artifact `jobs/{id}/repeat` holds `{seed}.npz` (worker.stages.seeds.SeedPredictions): the models' answers,
which are all that the report reads; the models themselves are not kept. A killed stage goes on at the seed,
and at the epoch, that it was in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.vocabulary import Arm
from models.backbones.network import Network
from models.masktune import Arm as Trained
from models.masktune import steps
from models.mitigation.groups import class_groups
from models.types import Labels
from worker.context import StageContext
from worker.networks.features import (
    FITS,
    NetworkFeatures,
    Passes,
    frozen_source,
    job_features_key,
)
from worker.networks.training import untrained_network
from worker.results import RepeatResult
from worker.stages.retrain_head import balanced_groups, fit_head
from worker.stages.seeds import SeedPredictions
from worker.workspace import copy_files

SPLITS = ("val", "test")
"""Those that the report judges by."""
_ARMS: Mapping[Trained, Arm] = {
    "erm": Arm.ERM,
    "masktune": Arm.MASKTUNE,
    "control": Arm.MASKTUNE_CONTROL,
}


def repeat(context: StageContext) -> RepeatResult:
    """Train with one further seed after another; publish what their models answer."""
    seeds = context.job_params(MitigateConfig).further_seeds
    passes, folder = Passes(context.run, len(seeds)), context.workspace.path / "seeds"
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        with passes.next() as run:
            file = folder / f"{seed}.npz"
            if file.is_file():
                continue
            context.log(f"training with seed {seed}")
            of_seed = context.with_seed(seed, on_progress=run.on_progress)
            _train(of_seed).save(file)
            context.artifacts.delete(job_features_key(of_seed))
            for used in context.workspace.path.glob(f"{context.stage}-{seed}-*"):
                shutil.rmtree(used)
            context.workspace.save()
    artifact = context.key(context.stage)
    with context.artifacts.writing(artifact) as target:
        copy_files(folder, target)
    return RepeatResult(artifact=artifact)


def _train(context: StageContext) -> SeedPredictions:
    """Train all arms of the job as its stages do, in their order, with the context's seed."""
    network = untrained_network(context)
    features = frozen_source(context, network, model=None)
    answers = partial(_answers, context)

    def folder(part: str) -> Path:  # the child process counts the epochs in folders of such names
        return context.workspace.path / f"{context.stage}-{context.seed}-{part}"

    trainings = steps(network, context.store, context.params, context.run, folder=folder, features=features)
    next(trainings)  # ERM
    by_arm = {Arm.ERM: answers(network)}
    divided, of_heads = _retrain_heads(context, deepcopy(network), answers)
    by_arm |= of_heads
    if context.job_params(MitigateConfig).masktune:
        by_arm |= {_ARMS[step.arm]: answers(network) for step in trainings}
    splits = by_arm[Arm.ERM]
    predictions = {split: {arm: of_arm[split] for arm, of_arm in by_arm.items()} for split in splits}
    return SeedPredictions(context.seed, divided, predictions)


def _retrain_heads(
    context: StageContext,
    network: Network,
    answers: Callable[[Network], dict[str, Labels]],
) -> tuple[bool, dict[Arm, dict[str, Labels]]]:
    """Whether any class was divided, and the answers of the retrained head and of its control."""
    passes = Passes(context.run, 1 + 3 * FITS)  # the features, the groups and two heads
    with passes.next() as run:
        features = _features(context, network).stages(run)
    classes = context.store.classes
    groups = balanced_groups(context, features, passes)
    fit_head(context, network, features.last, groups, passes)
    by_arm, divided = {Arm.RETRAINED: answers(network)}, len(groups.names) > len(classes)
    if context.retraining.control:
        if divided:  # else the retrained head is its control
            fit_head(context, network, features.last, class_groups(features.last.labels, classes), passes)
        by_arm[Arm.RETRAINED_CONTROL] = answers(network)
    return divided, by_arm


def _answers(context: StageContext, network: Network) -> dict[str, Labels]:
    """Predictions (N,) on each split, in stored order."""
    features = _features(context, network)
    return {split: features.logits(split, context.run)[0].predictions for split in SPLITS}


def _features(context: StageContext, network: Network) -> NetworkFeatures:
    return NetworkFeatures(context, network, frozen=context.params.freeze_backbone, model=None)
