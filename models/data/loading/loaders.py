"""The loaders of a training: its images, those of the saliency maps, and those it is judged on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Hyperparameters
from models.data.loading.batches import StoreLoader, make_loader
from models.data.loading.loader_settings import LoaderSettings, Masking
from models.data.store import Store, evenly
from models.errors import LearningError
from models.run import Run

_SMALL = 64  # pixels; up to this side, a forward pass may use larger batches than training
_SMALL_BATCH = 256


class SplitTooSmall(LearningError, ValueError):
    """A split has no image, or fewer images than ranks that share it."""

    reason = "split_too_small"


def check_split(store: Store, split: str, *, ranks: int = 1) -> None:
    """Require at least one image for each of `ranks`. Raises the same SplitTooSmall on every rank."""
    images = len(store.rows(split))
    if images == 0:
        raise SplitTooSmall(f"the data set has no image in the split {split}: add some")
    if images < ranks:
        raise SplitTooSmall(
            f"{ranks} GPUs share the split {split}, which has only {images}: add images, or use fewer GPUs"
        )


def train_loader(
    store: Store, config: Hyperparameters, run: Run, masking: Masking | None = None
) -> StoreLoader:
    settings = LoaderSettings(
        config.image_size, config.batch_size, config.augmentation, masking, several_epochs=True
    )
    return make_loader(store, _trained_rows(store, config.max_train_samples), settings, run)


def _trained_rows(store: Store, most: int | None) -> NDArray[np.int64]:
    """Ascending rows of `train`: all, or at most so many, of each class in proportion."""
    rows = store.rows("train")
    if most is None:
        return rows
    by_class = rows[np.argsort(store.labels[rows], kind="stable")]
    return np.sort(evenly(by_class, most))


def map_loader(
    store: Store, config: Hyperparameters, run: Run, *, rows: NDArray[np.int64] | None = None
) -> StoreLoader:
    """`rows`, by default the training split, as saliency maps see them: in stored order, unaugmented."""
    return make_loader(store, store.rows("train") if rows is None else rows, map_settings(config), run)


def map_settings(config: Hyperparameters) -> LoaderSettings:
    """How these images are batched."""
    return LoaderSettings(config.image_size, _forward_batch(config), crop=config.masking.crop)


def val_loader(store: Store, config: Hyperparameters, run: Run) -> StoreLoader:
    """This rank's part of the validation split. Raises SplitTooSmall if some rank would get no image."""
    check_split(store, "val", ranks=run.world_size)
    rows = store.rows("val")[run.rank :: run.world_size]
    # The released code averages over batches, so their size may change which epoch is best.
    batch_size = config.batch_size if config.as_released else _forward_batch(config)
    return make_loader(store, rows, LoaderSettings(config.image_size, batch_size, several_epochs=True), run)


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
