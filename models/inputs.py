"""What each training of the method takes: a network, its batches, and its plan; what is checked first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig, ScheduleConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.loading.loader_settings import Masking, MaskSource
from models.data.loading.loaders import check_split, evaluation_loader, train_loader, val_loader
from models.data.store import Store
from models.masking.compute import RANDOM
from models.masking.rule import apply_masks
from models.mitigation.features import compute_features
from models.run import Run
from models.saliency import METHODS, UnknownMethod
from models.training.checkpoints import Checkpoint
from models.training.fit import FitConfig, FitData
from models.training.frozen import FeatureLoader, FeatureSource


def check_ready(store: Store, masking: MaskingConfig) -> None:
    """Check what would end `masktune` long after it began. Raises UnknownMethod, SplitTooSmall."""
    if masking.method not in (*METHODS, RANDOM):
        known = ", ".join((*METHODS, RANDOM))
        raise UnknownMethod(f"there is no masking method {masking.method!r}; use one of {known}")
    for split in ("train", "val", "test"):
        check_split(store, split)


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


def erm_config(config: Hyperparameters) -> FitConfig:
    """Ordinary training: the network ends with its best epoch on val."""
    return FitConfig(
        config.epochs,
        config.optimizer,
        ScheduleConfig() if config.as_released else config.schedule,
        precision=config.precision,
        batch_means=config.as_released,
        freeze_backbone=config.freeze_backbone,
    )


def continued_config(
    config: Hyperparameters, start: Checkpoint | None, *, epochs: int, first_epoch: int = 0
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


def fit_data(
    network: Network,
    store: Store,
    config: Hyperparameters,
    run: Run,
    *,
    masks: MaskSource | None = None,
    features: FeatureSource | None = None,
) -> FitData:
    """The batches of a training, masked if `masks` is given, and the settings that determine them.

    `features` are those of a frozen backbone; by default they are computed.
    """
    masking = None if masks is None else Masking(masks, partial(apply_masks, fill=config.masking.fill))
    batch_settings: dict[str, str | int | None] = {
        "store": store.digest,
        "augmentation": config.augmentation,
        "batch_size": config.batch_size,
        "max_train_samples": config.max_train_samples,
        "masks": None if masks is None else masks.digest,
        "fill": None if masks is None else config.masking.fill,
    }
    if config.freeze_backbone:
        source = features or partial(split_features, network, store, config, run)
        masked = None if masking is None else split_features(network, store, config, run, "train", masking)
        train = source("train") if masked is None else masked
        batches = partial(_feature_batches, store, config, run)
        return FitData(batches("train", train), batches("val", source("val")), batch_settings)
    return FitData(train_loader(store, config, run, masking), val_loader(store, config, run), batch_settings)


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
