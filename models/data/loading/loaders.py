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
    """A split has no image."""

    reason = "split_too_small"


def check_split(store: Store, split: str) -> None:
    """Require at least one image. Raises SplitTooSmall."""
    if len(store.rows(split)) == 0:
        raise SplitTooSmall(f"the data set has no image in the split {split}: add some")


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
    """The validation split. Raises SplitTooSmall if it has no image."""
    check_split(store, "val")
    rows = store.rows("val")
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
    """As in training; small images use at least `_SMALL_BATCH`."""
    return max(config.batch_size, _SMALL_BATCH if config.image_size <= _SMALL else 0)
