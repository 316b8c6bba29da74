"""What would end a training long after it began, found before its first step."""

from __future__ import annotations

from models.config import MaskingConfig
from models.data.store import Store
from models.errors import LearningError
from models.masking import RANDOM
from models.run import Run
from models.saliency import METHODS, UnknownMethod


class SplitTooSmall(LearningError, ValueError):
    """A split without an image, or with fewer than the ranks that share it."""

    reason = "split_too_small"


def check_ready(store: Store, masking: MaskingConfig, run: Run) -> None:
    """All that `masktune` needs later on. Raises UnknownMethod, SplitTooSmall."""
    if masking.method not in (*METHODS, RANDOM):
        known = ", ".join((*METHODS, RANDOM))
        raise UnknownMethod(f"no masking method is called {masking.method!r}; there are {known}")
    for split, ranks in {"train": 1, "val": run.world_size, "test": 1}.items():
        check_split(store, split, ranks=ranks)


def check_split(store: Store, split: str, *, ranks: int = 1) -> None:
    """At least one image for each of `ranks`. Raises SplitTooSmall, the same one in all of them."""
    found = len(store.rows(split))
    if found == 0:
        raise SplitTooSmall(f"the data set has no image in the split {split}: add some")
    if found < ranks:
        raise SplitTooSmall(
            f"{ranks} GPUs share the split {split}, which has {found}: add images, or take fewer GPUs"
        )
