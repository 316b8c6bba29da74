"""MaskTune (Asgari Taghanaki et al., NeurIPS 2022) on one screen: ERM, masks, finetune, control, evaluation.

`steps` is their order; `masktune` runs them all, a job's stages one each. All steps share one network
object, and each leaves its final weights in it. If the backbone is frozen, ERM, finetune and control train
the last layer on `features`, computed once for the images and once for the masked ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.loading.loader_settings import MaskSource
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.evaluation.metrics import Metrics, Names, metrics, predict_logits
from models.inputs import check_ready, continued_config, erm_config, fit_data, split_features
from models.masking.compute import load_or_compute_masks
from models.masking.store import MaskSet, union
from models.masking.summaries import SigmasChoice
from models.run import Run
from models.sigmas import fix_sigmas
from models.training.checkpoints import Checkpoint, CheckpointFolder
from models.training.fit import FitResult, fit
from models.training.frozen import FeatureSource

Arm = Literal["erm", "masktune", "control"]


class ArmResult(NamedTuple):
    """One of the compared models: its training, and its metrics by split name."""

    fit: FitResult
    metrics: Mapping[str, Metrics]


class MaskTuneResult(NamedTuple):
    """`arms` by name (no control if the config turns it off); `masks` holds one mask set per iteration;
    `sigmas` says how `auto` was resolved, if the config left it open."""

    arms: Mapping[Arm, ArmResult]
    masks: Sequence[MaskSet]
    sigmas: SigmasChoice | None = None


class Step(NamedTuple):
    """What the training of an arm left; `masks` and `sigmas` are MaskTune's, as in `MaskTuneResult`."""

    arm: Arm
    fit: FitResult
    masks: Sequence[MaskSet] = ()
    sigmas: SigmasChoice | None = None


def masktune(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path
) -> MaskTuneResult:
    """Train and evaluate all arms, with checkpoints and mask sets in `folder`; call it again to resume.

    `network` ends with the weights of the arm trained last. Raises CheckpointError or MaskSetError if
    `folder` holds the results of other options.
    """
    check_ready(store, config.masking)
    inputs = network, store, config, run
    features = cache(partial(split_features, *inputs)) if config.freeze_backbone else None  # split → (N, D)
    results: dict[Arm, ArmResult] = {}
    masks: Sequence[MaskSet] = ()
    sigmas: SigmasChoice | None = None
    for step in steps(*inputs, folder=folder.joinpath, features=features):
        results[step.arm] = ArmResult(step.fit, _evaluate_splits(*inputs))
        masks, sigmas = step.masks or masks, step.sigmas or sigmas
    return MaskTuneResult(results, masks, sigmas)


def steps(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    folder: Callable[[str], Path],
    features: FeatureSource | None = None,
    first: Arm = "erm",
    start: Checkpoint | None = None,
    masks: Callable[[int], MaskSet] | None = None,
) -> Iterator[Step]:
    """The trainings in their order, each when it is asked for; `network` then has the arm's weights.

    `folder` gives a place by name: erm, masks-1, finetune-1, control. To begin at a later arm, give it as
    `first`, with the checkpoint of ERM as `start`. `masks` gives an iteration's mask set, by default made
    with the network as it then is.
    """
    inputs = network, store, config, run
    sigmas: SigmasChoice | None = None
    if first == "erm":
        # 1. ERM: ordinary training. Keep the epoch with the best accuracy on val (plain, no groups).
        yield Step("erm", fit_erm(*inputs, folder=folder("erm"), features=features))
        start = CheckpointFolder(folder("erm")).last()
        # 2. If `sigmas` is left open, choose the smallest masks that hide from ERM what it uses.
        config, sigmas = fix_sigmas(*inputs)
        inputs = network, store, config, run
    if first != "control":
        # 3. Mask where it looks, and finetune on masked images only, `iterations` times.
        fitted, sets = finetune(
            *inputs,
            start=start,
            masks=masks
            or (lambda i: load_or_compute_masks(*inputs, folder=folder(f"masks-{i + 1}"), iteration=i)),
            checkpoints=lambda i: folder(f"finetune-{i + 1}"),
            features=features,
        )
        yield Step("masktune", fitted, sets, sigmas)
    if config.control:
        # 4. Control: same start, same images in the same order, no masks. Shows what extra epochs alone do.
        fitted = continue_as_control(*inputs, folder=folder("control"), start=start, features=features)
        yield Step("control", fitted)


def fit_erm(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    folder: Path,
    features: FeatureSource | None = None,
) -> FitResult:
    """Train as usual, with checkpoints in `folder`. The network ends with its best epoch on val."""
    batches = fit_data(network, store, config, run, features=features)  # images (B, 3, H, W), labels (B,)
    return fit(network, batches, config=erm_config(config), run=run, checkpoints=CheckpointFolder(folder))


def finetune(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    start: Checkpoint | None,
    masks: Callable[[int], MaskSet],
    checkpoints: Callable[[int], Path],
    features: FeatureSource | None = None,
) -> tuple[FitResult, Sequence[MaskSet]]:
    """Mask and finetune `config.masking.iterations` times; return the last training and all mask sets.

    `masks` gives an iteration's mask set, made with the network as it is when called; `checkpoints` gives the
    iteration's folder. `start`: weights and optimizer to go on from (None: the network as it is).
    """
    sets: list[MaskSet] = []
    for iteration in range(config.masking.iterations):
        # Where does it look? One map (h, w) per unaugmented image; mask the pixels above its threshold.
        sets.append(masks(iteration))
        masked = union(sets) if config.masking.accumulate else sets[-1]  # (B, H, W) bool
        # Continue on masked images only, by default for one epoch, from the last epoch trained so far.
        fitted = finetune_on_masks(
            *(network, store, config, run),
            folder=checkpoints(iteration),
            start=start,
            masks=masked,
            iteration=iteration,
            features=features,
        )
        start = CheckpointFolder(checkpoints(iteration)).last()
    return fitted, sets


def finetune_on_masks(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    folder: Path,
    start: Checkpoint | None,
    masks: MaskSource,
    iteration: int = 0,
    features: FeatureSource | None = None,
) -> FitResult:
    """One iteration of `finetune` on these masks."""
    epochs = config.finetune.epochs
    plan = continued_config(config, start, epochs=epochs, first_epoch=iteration * epochs)
    batches = fit_data(network, store, config, run, masks=masks, features=features)
    return fit(network, batches, config=plan, run=run, checkpoints=CheckpointFolder(folder), start=start)


def continue_as_control(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    folder: Path,
    start: Checkpoint | None,
    features: FeatureSource | None = None,
) -> FitResult:
    """Continue from the same `start` for as many epochs as all finetunes, on the same batches, unmasked."""
    plan = continued_config(config, start, epochs=config.masking.iterations * config.finetune.epochs)
    batches = fit_data(network, store, config, run, features=features)
    return fit(network, batches, config=plan, run=run, checkpoints=CheckpointFolder(folder), start=start)


def _evaluate_splits(network: Network, store: Store, config: Hyperparameters, run: Run) -> dict[str, Metrics]:
    """Metrics of a network on val and test, including those of groups if the data set has any."""
    groups = store.groups if store.has_groups else None
    names = Names(store.classes, store.group_names)
    train_groups = np.bincount(store.groups[store.rows("train")] + 1, minlength=1)[1:]
    by_split = {}
    for split in ("val", "test"):
        logits = predict_logits(network, evaluation_loader(store, store.rows(split), config, run), run)
        by_split[split] = metrics(
            logits.labels,
            logits.predictions,
            groups=None if groups is None else groups[logits.rows],
            train_group_weights=dict(enumerate(train_groups.tolist())),
            clusters=store.clusters(logits.rows) if store.has_subjects else None,
            names=names,
        )
    return by_split
