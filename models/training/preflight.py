"""Checks, before the first step, for what would end a training long after it began."""

from __future__ import annotations

from masktune.contract.hyperparameters import MaskingConfig
from models.data.loaders import check_split
from models.data.store import Store
from models.masking.compute import RANDOM
from models.run import Run
from models.saliency import METHODS, UnknownMethod


def check_ready(store: Store, masking: MaskingConfig, run: Run) -> None:
    """Check everything that `masktune` needs later. Raises UnknownMethod, SplitTooSmall."""
    if masking.method not in (*METHODS, RANDOM):
        known = ", ".join((*METHODS, RANDOM))
        raise UnknownMethod(f"there is no masking method {masking.method!r}; use one of {known}")
    for split, ranks in {"train": 1, "val": run.world_size, "test": 1}.items():
        check_split(store, split, ranks=ranks)
