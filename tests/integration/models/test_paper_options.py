"""Every option of the paper changes what is trained, from the hyperparameters to the weights."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from models.data.store import Store
from models.inputs import new_network
from models.masking.compute import RANDOM, load_or_compute_masks
from models.masktune import masktune
from models.run import Run
from models.saliency import METHODS
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

CONFIG = Hyperparameters(
    seed=shifted(0), image_size=16, batch_size=8, epochs=2, masking=MaskingConfig(sigmas=1.0), control=False
)
OPTIONS: list[dict[str, Any]] = [
    {"method": "gradcam++"},
    {"method": RANDOM},
    {"target": "label"},
    {"sigmas": 0.0},
    {"share": 0.3},
    {"iterations": 2},
    {"iterations": 3},
    {"iterations": 2, "accumulate": False},
    {"fill": "mean"},
    {"fill": "blur"},
    {"crop": "centre"},
]


def tuned(store: Store, folder: Path, **masking: Any) -> str:
    """The digest of the MaskTune model's weights."""
    config = replace(CONFIG, masking=replace(CONFIG.masking, **masking))
    result = masktune(new_network(store, config), store, config, Run(seed=shifted(0)), folder=folder)
    assert len(result.masks) == config.masking.iterations
    return result.arms["masktune"].fit.digest


@pytest.mark.trains
def test_no_two_options_train_the_same_model(make_store: StoreFactory, tmp_path: Path) -> None:
    # With so many images that no network's maps are all empty, and labels that one cannot all predict.
    store = make_store(train=64, val=2, test=2, wrong=8)
    digests = [tuned(store, tmp_path / "plain")]
    for index, option in enumerate([*OPTIONS, {}]):
        shutil.copytree(tmp_path / "plain" / "erm", tmp_path / str(index) / "erm")  # need not train again
        digests.append(tuned(store, tmp_path / str(index), **option))
    assert len(set(digests)) == len(OPTIONS) + 1
    assert digests[0] == digests[-1]


@pytest.mark.parametrize("method", [*METHODS, RANDOM])
def test_every_method_masks_the_training_split(method: str, make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store(train=4, val=2, test=2)
    config = replace(CONFIG, image_size=28, masking=MaskingConfig(method=method, sigmas=0.0))
    masks = load_or_compute_masks(new_network(store, config), store, config, Run(), folder=tmp_path / "masks")
    assert masks.header.method == method
    assert masks.rows.tolist() == store.rows("train").tolist()
    assert 0 < masks.masked_share < 1
