"""Checks, before the first step, for what would end a training long after it began."""

from __future__ import annotations

from masktune.contract.hyperparameters import MaskingConfig
from models.data.store import Store
from models.errors import LearningError
from models.masking.compute import RANDOM
from models.run import Run
from models.saliency import METHODS, UnknownMethod


class SplitTooSmall(LearningError, ValueError):
    """A split has no image, or fewer images than ranks that share it."""

    reason = "split_too_small"


def check_ready(store: Store, masking: MaskingConfig, run: Run) -> None:
    """Check everything that `masktune` needs later. Raises UnknownMethod, SplitTooSmall."""
    if masking.method not in (*METHODS, RANDOM):
        known = ", ".join((*METHODS, RANDOM))
        raise UnknownMethod(f"there is no masking method {masking.method!r}; use one of {known}")
    for split, ranks in {"train": 1, "val": run.world_size, "test": 1}.items():
        check_split(store, split, ranks=ranks)


def check_split(store: Store, split: str, *, ranks: int = 1) -> None:
    """Require at least one image for each of `ranks`. Raises the same SplitTooSmall on every rank."""
    found = len(store.rows(split))
    if found == 0:
        raise SplitTooSmall(f"the data set has no image in the split {split}: add some")
    if found < ranks:
        raise SplitTooSmall(
            f"{ranks} GPUs share the split {split}, which has only {found}: add images, or use fewer GPUs"
        )
