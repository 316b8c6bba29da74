"""A folder that was used before: gone on with for the same options, refused for others, by their names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.inputs import new_network
from models.masking.compute import load_or_compute_masks
from models.masking.store import MaskSetError
from models.masktune import masktune
from models.run import Run
from models.training.checkpoints import CheckpointError, CheckpointFolder, digest_of
from tests.support.arrays import Arrays, write_arrays
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

pytestmark = pytest.mark.trains

CONFIG = Hyperparameters(
    seed=shifted(0),
    image_size=16,
    batch_size=8,
    epochs=1,
    control=False,
    masking=MaskingConfig(sigmas=1.0, iterations=2),
)
RUN = Run(seed=shifted(0))


def _masktune(store: Store, folder: Path, config: Hyperparameters = CONFIG, run: Run = RUN) -> str:
    """The digest of the finetuned weights."""
    result = masktune(new_network(store, config), store, config, run, folder=folder)
    return result.arms["masktune"].fit.digest


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store, and the folder of a training on it."""
    folder = tmp_path_factory.mktemp("trained")
    pixels = np.random.default_rng(shifted(0)).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    arrays = Arrays(pixels, np.arange(20) % 2, ["train"] * 16 + ["val", "val", "test", "test"])
    store = write_arrays(folder / "store", arrays, DatasetInfo("noise", "builtin", ("a", "b")))
    _masktune(store, folder / "m")
    return store, folder / "m"


@pytest.fixture
def used(trained: tuple[Store, Path], tmp_path: Path) -> tuple[Store, Path]:
    """A copy of them that a test may change."""
    store, folder = trained
    return store, shutil.copytree(folder, tmp_path / "m")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "gradcam++"},
        {"target": "label"},
        {"sigmas": -1.0},
        {"share": 0.2},
        {"crop": "centre"},
        {"method": "random", "sigmas": 2.0},
    ],
    ids=str,
)
def test_masks_that_were_made_otherwise_are_refused(
    used: tuple[Store, Path], changes: Mapping[str, Any]
) -> None:
    other = replace(CONFIG, masking=replace(CONFIG.masking, **changes))
    with pytest.raises(MaskSetError, match=rf"a different {', '.join(changes)}: use a new folder"):
        _masktune(*used, other)


@pytest.mark.parametrize(
    "other",
    [
        replace(CONFIG, augmentation="crop_flip"),
        replace(CONFIG, batch_size=9),  # two steps, too
        replace(CONFIG, masking=replace(CONFIG.masking, fill="mean")),
    ],
    ids=["augmentation", "batch_size", "fill"],
)
def test_a_training_of_other_batches_is_refused(
    used: tuple[Store, Path], other: Hyperparameters, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(CheckpointError, match=rf"\(different {request.node.callspec.id}\)"):
        _masktune(*used, other)


def test_other_masks_are_refused(used: tuple[Store, Path]) -> None:
    for number in (1, 2):
        shutil.rmtree(used[1] / f"masks-{number}")
    less = replace(CONFIG, masking=replace(CONFIG.masking, sigmas=1.5))
    with pytest.raises(CheckpointError, match=r"\(different masks\)"):
        _masktune(*used, less)


def test_another_data_set_is_refused(make_store: StoreFactory, used: tuple[Store, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"\(different store\)"):
        _masktune(make_store(train=16), used[1])


def test_random_masks_of_another_seed_are_refused(make_store: StoreFactory, tmp_path: Path) -> None:
    store, config = make_store(train=4), replace(CONFIG, masking=MaskingConfig(method="random", share=0.2))
    network = new_network(store, config)
    load_or_compute_masks(network, store, config, RUN, folder=tmp_path / "m")
    with pytest.raises(MaskSetError, match="different seed"):
        load_or_compute_masks(network, store, config, replace(RUN, seed=shifted(1)), folder=tmp_path / "m")


@pytest.mark.parametrize("other", ["{}", digest_of("{}"), None])
def test_another_start_is_refused(used: tuple[Store, Path], other: str | None) -> None:
    folder = CheckpointFolder(used[1] / "finetune-2")
    last = folder.last()
    folder.save(replace(last, identity=json.dumps(json.loads(last.identity) | {"start": other})))
    with pytest.raises(CheckpointError, match=r"\(different start\)"):
        _masktune(*used)
