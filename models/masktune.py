"""MaskTune (Asgari Taghanaki et al., NeurIPS 2022) on one screen: ERM, masks, finetune, control, evaluation.

`masktune` is the whole method; a job's stages call the same steps one at a time. All steps share one
network object, and each step leaves its final weights in it. If the backbone is frozen, ERM, finetune and
control train the last layer on features, which are computed once for the images and once for the masked ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Hyperparameters, ScheduleConfig
from models.backbones import Network, build_network
from models.data.batches import LoaderSettings, Masking, MaskSource, StoreLoader, make_loader
from models.data.store import Store
from models.evaluation.metrics import Metrics, Names, metrics, predict_logits
from models.masking.compute import apply_masks, compute_mask_set
from models.masking.rule import seed_of_set
from models.masking.store import MaskSet, MaskSetError, MaskSetHeader, union
from models.mitigation.features import compute_features
from models.run import Run
from models.training.checkpoints import Checkpoint, CheckpointFolder
from models.training.distributed import wait_for_all
from models.training.fit import FitConfig, FitData, FitResult, fit
from models.training.frozen import FeatureLoader, FeatureSource
from models.training.preflight import check_ready, check_split

Arm = Literal["erm", "masktune", "control"]
_SMALL = 64  # pixels; up to this side, a forward pass may use larger batches than training
_SMALL_BATCH = 256


class ArmResult(NamedTuple):
    """One of the compared models: its training, and its metrics by split name."""

    fit: FitResult
    metrics: Mapping[str, Metrics]


class MaskTuneResult(NamedTuple):
    """`arms` by name (no control if the config turns it off); `masks` holds one mask set per iteration."""

    arms: Mapping[Arm, ArmResult]
    masks: Sequence[MaskSet]


def masktune(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path
) -> MaskTuneResult:
    """Train and evaluate all arms, with checkpoints and mask sets in `folder`; call it again to resume.

    `network` ends with the weights of the arm trained last. Raises CheckpointError or MaskSetError if
    `folder` holds the results of other options.
    """
    check_ready(store, config.masking, run)
    features = cache(partial(split_features, network, store, config, run)) if config.freeze_backbone else None
    arms: dict[Arm, ArmResult] = {}
    # 1. ERM: ordinary training. Keep the epoch with the best accuracy on val (plain, no groups).
    fitted = fit_erm(network, store, config, run, folder=folder / "erm", features=features)
    arms["erm"] = ArmResult(fitted, evaluate_splits(network, store, config, run))
    last = CheckpointFolder(folder / "erm").last()
    start, sets = last, list[MaskSet]()
    for iteration in range(config.masking.iterations):
        # 2. Where does it look? One map (h, w) per unaugmented image; mask the pixels above its threshold.
        kept = folder / f"masks-{iteration + 1}"
        sets.append(compute_masks(network, store, config, run, folder=kept, iteration=iteration))
        masked = union(sets) if config.masking.accumulate else sets[-1]  # (B, H, W) bool
        # 3. Finetune on masked images only, by default for one epoch, from the last epoch trained so far.
        tuned = folder / f"finetune-{iteration + 1}"
        fitted = finetune_on_masks(
            network,
            store,
            config,
            run,
            folder=tuned,
            start=start,
            masks=masked,
            iteration=iteration,
            features=features,
        )
        start = CheckpointFolder(tuned).last()
    arms["masktune"] = ArmResult(fitted, evaluate_splits(network, store, config, run))
    if config.control:
        # 4. Control: same start, same images in the same order, no masks. Shows what extra epochs alone do.
        fitted = continue_as_control(
            network, store, config, run, folder=folder / "control", start=last, features=features
        )
        arms["control"] = ArmResult(fitted, evaluate_splits(network, store, config, run))
    return MaskTuneResult(arms, sets)


def new_network(store: Store, config: Hyperparameters) -> Network:
    """Build the config's backbone with weights drawn from its seed, or with the library's published weights.

    If `pretrained` names a model, copy its weights with `backbones.adopt_weights`. Raises `BackboneError`.
    """
    return build_network(
        config.backbone,
        classes=len(store.classes),
        image_size=config.image_size,
        pretrained=config.pretrained is True,
        seed=config.seed,
    )


def fit_erm(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    folder: Path,
    features: FeatureSource | None = None,
) -> FitResult:
    """Train as usual, with checkpoints in `folder`. The network ends with its best epoch on val.

    `features` are those of a frozen backbone, here and in the functions below; by default they are computed.
    """
    plan = FitConfig(
        config.epochs,
        config.optimizer,
        ScheduleConfig() if config.as_released else config.schedule,
        precision=config.precision,
        batch_means=config.as_released,
        freeze_backbone=config.freeze_backbone,
    )
    data = _fit_data(network, store, config, run, features=features)
    return fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(folder))


def compute_masks(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path, iteration: int = 0
) -> MaskSet:
    """Compute the mask set of the training split, or open the one that `folder` already holds.

    A new folder appears only when complete. Raises MaskSetError if the set was made with other options.
    """
    if run.rank == 0 and not folder.exists():
        loader = map_loader(store, config, run)
        compute_mask_set(network, loader, config.masking, run, folder=folder, iteration=iteration)
    wait_for_all(run)
    found = MaskSet.open(folder)
    _check_made_so(found.header, store, config, run, iteration=iteration)
    return found


def _check_made_so(
    header: MaskSetHeader, store: Store, config: Hyperparameters, run: Run, *, iteration: int
) -> None:
    masking, side = config.masking, config.image_size
    wanted: dict[str, object] = {
        **{name: getattr(masking, name) for name in ("method", "target", "sigmas", "share", "crop")},
        "size": (side, side),
        "images": len(store.rows("train")),
        "seed": seed_of_set(run.seed, iteration),
    }
    if header.crop is None:  # written by an earlier version, with one seed for all iterations
        wanted |= {"crop": None, "seed": run.seed}
    differing = ", ".join(name for name, value in wanted.items() if getattr(header, name) != value)
    if differing:
        raise MaskSetError(f"the masks here were made with a different {differing}: use a new folder")


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
    """Continue from `start` (weights and optimizer; None: the network as it is) on masked images only."""
    epochs = config.finetune.epochs
    plan = _continued(config, start, epochs=epochs, first_epoch=iteration * epochs)
    data = _fit_data(network, store, config, run, masks=masks, features=features)
    return fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(folder), start=start)


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
    plan = _continued(config, start, epochs=config.masking.iterations * config.finetune.epochs, first_epoch=0)
    data = _fit_data(network, store, config, run, features=features)
    return fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(folder), start=start)


def _fit_data(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    masks: MaskSource | None = None,
    features: FeatureSource | None = None,
) -> FitData:
    """The batches of a training, masked if `masks` is given, and the settings that determine them."""
    masking = None if masks is None else Masking(masks, partial(apply_masks, fill=config.masking.fill))
    decided: dict[str, str | int | None] = {
        "store": store.digest,
        "augmentation": config.augmentation,
        "batch_size": config.batch_size,
        "masks": None if masks is None else masks.digest,
        "fill": None if masks is None else config.masking.fill,
    }
    if config.freeze_backbone:
        source = features or partial(split_features, network, store, config, run)
        masked = None if masking is None else split_features(network, store, config, run, "train", masking)
        train = source("train") if masked is None else masked
        batches = partial(_feature_batches, store, config, run)
        return FitData(batches("train", train), batches("val", source("val")), decided)
    return FitData(train_loader(store, config, run, masking), val_loader(store, config, run), decided)


def split_features(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    split: str,
    masking: Masking | None = None,
) -> NDArray[np.float32]:
    """The last layer's inputs (N, D) for every image of the split, masked if so asked, in stored order."""
    check_split(store, split)
    loader = evaluation_loader(store, store.rows(split), config, run, masking)
    return compute_features(network, loader, run).values


def _feature_batches(
    store: Store, config: Hyperparameters, run: Run, split: str, values: NDArray[np.float32]
) -> FeatureLoader:
    rows = store.rows(split)
    return FeatureLoader(values, store.labels[rows], rows, batch_size=config.batch_size, run=run)


def _continued(
    config: Hyperparameters, start: Checkpoint | None, *, epochs: int, first_epoch: int
) -> FitConfig:
    """Use the finetune's learning rate, or the last one of `start`; keep the last epoch, not the best."""
    before = config.optimizer.learning_rate if start is None else start.learning_rate
    optimizer = replace(config.optimizer, learning_rate=config.finetune.learning_rate or before)
    return FitConfig(
        epochs,
        optimizer,
        stage="finetune",
        first_epoch=first_epoch,
        select="last",
        precision=config.precision,
        freeze_backbone=config.freeze_backbone,
    )


def evaluate_splits(
    network: Network, store: Store, config: Hyperparameters, run: Run, splits: Sequence[str] = ("val", "test")
) -> dict[str, Metrics]:
    """Metrics by split name, including those of groups if the data set has any."""
    groups = store.groups if store.has_groups else None
    names = Names(store.classes, store.group_names)
    train_groups = np.bincount(store.groups[store.rows("train")] + 1, minlength=1)[1:]
    found = {}
    for split in splits:
        said = predict_logits(network, evaluation_loader(store, store.rows(split), config, run), run)
        found[split] = metrics(
            said.labels,
            said.predictions,
            groups=None if groups is None else groups[said.rows],
            train_group_weights=dict(enumerate(train_groups.tolist())),
            names=names,
        )
    return found


def train_loader(
    store: Store, config: Hyperparameters, run: Run, masking: Masking | None = None
) -> StoreLoader:
    settings = LoaderSettings(config.image_size, config.batch_size, config.augmentation, masking, again=True)
    return make_loader(store, store.rows("train"), settings, run)


def map_loader(store: Store, config: Hyperparameters, run: Run) -> StoreLoader:
    """The training split as saliency maps see it: in stored order, without augmentation."""
    settings = LoaderSettings(config.image_size, _forward_batch(config), crop=config.masking.crop)
    return make_loader(store, store.rows("train"), settings, run)


def val_loader(store: Store, config: Hyperparameters, run: Run) -> StoreLoader:
    """This rank's part of the validation split. Raises SplitTooSmall if some rank would get no image."""
    check_split(store, "val", ranks=run.world_size)
    rows = store.rows("val")[run.rank :: run.world_size]
    # The released code averages over batches, so their size may change which epoch is best.
    batch_size = config.batch_size if config.as_released else _forward_batch(config)
    return make_loader(store, rows, LoaderSettings(config.image_size, batch_size, again=True), run)


def evaluation_loader(
    store: Store,
    rows: NDArray[np.int64],
    config: Hyperparameters,
    run: Run,
    masking: Masking | None = None,
) -> StoreLoader:
    """`rows` without augmentation, in batches sized for a forward pass."""
    settings = LoaderSettings(config.image_size, _forward_batch(config), masking=masking)
    return make_loader(store, rows, settings, run)


def _forward_batch(config: Hyperparameters) -> int:
    """One GPU's share of a training batch; small images use at least `_SMALL_BATCH`."""
    mine = max(2, config.batch_size // config.gpus)
    return max(mine, _SMALL_BATCH) if config.image_size <= _SMALL else mine
