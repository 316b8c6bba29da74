"""Fixtures for the models: a packed store of tiny coloured images, and a run on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.support.arrays import Arrays, write_arrays
from tests.support.seeds import shifted
from tests.support.threads import THREADS

StoreFactory = Callable[..., Store]


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    """One, unless `make test-processors` asks for more: on a busy machine, more mostly wait."""
    torch.set_num_threads(THREADS)


@pytest.fixture
def make_store(tmp_path: Path) -> StoreFactory:
    """`make_store(train=, val=, test=, side=, wrong=)`: two classes that differ in brightness, with added
    noise. The first `wrong` images have the other label."""

    def make(*, train: int = 24, val: int = 8, test: int = 8, side: int = 16, wrong: int = 0) -> Store:
        splits = ["train"] * train + ["val"] * val + ["test"] * test
        rng = np.random.default_rng(shifted(7))
        labels = np.arange(len(splits)) % 2
        images = rng.integers(0, 128, (len(splits), side, side, 3)) + 100 * labels[:, None, None, None]
        groups = (labels + np.arange(len(splits)) // 2 % 2 * 2).astype(np.int64)
        labels[:wrong] = 1 - labels[:wrong]
        folder = tmp_path / f"store-{train}-{val}-{test}-{side}"
        info = DatasetInfo("tiny", "builtin", ("dark", "bright"), ("a", "b", "c", "d"))
        return write_arrays(
            folder, Arrays(images.astype(np.uint8), labels.astype(np.int64), splits, groups), info
        )

    return make
