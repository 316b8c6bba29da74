"""A folder that was used before: gone on with for the same options, refused for others, by their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from models.data.store import Store
from models.inputs import new_network
from models.masking.compute import load_or_compute_masks
from models.masking.store import MaskSetError
from models.masktune import masktune
from models.run import Run
from models.training.checkpoints import CheckpointError, CheckpointFolder, digest_of

CONFIG = Hyperparameters(
    image_size=16, batch_size=8, epochs=1, control=False, masking=MaskingConfig(sigmas=1.0, iterations=2)
)
RUN = Run()
Stores = Callable[..., Store]


def _masktune(store: Store, folder: Path, config: Hyperparameters = CONFIG, run: Run = RUN) -> str:
    """The digest of the finetuned weights."""
    result = masktune(new_network(store, config), store, config, run, folder=folder)
    return result.arms["masktune"].fit.digest


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
    make_store: Stores, tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    store = make_store()
    _masktune(store, tmp_path / "m")
    other = replace(CONFIG, masking=replace(CONFIG.masking, **changes))
    with pytest.raises(MaskSetError, match=rf"a different {', '.join(changes)}: use a new folder"):
        _masktune(store, tmp_path / "m", other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"augmentation": "crop_flip"}, "augmentation"), ({"batch_size": 9}, "batch_size")],
)
def test_a_training_of_other_batches_is_refused(
    make_store: Stores, tmp_path: Path, changes: Mapping[str, Any], said: str
) -> None:
    """Nine at a time, too, it is an epoch of three steps."""
    store = make_store()
    _masktune(store, tmp_path / "m")
    with pytest.raises(CheckpointError, match=rf"\(different {said}\)"):
        _masktune(store, tmp_path / "m", replace(CONFIG, **changes))


def test_another_fill_and_other_masks_are_refused(make_store: Stores, tmp_path: Path) -> None:
    store = make_store()
    _masktune(store, tmp_path / "m")
    filled = replace(CONFIG, masking=replace(CONFIG.masking, fill="mean"))
    with pytest.raises(CheckpointError, match=r"\(different fill\)"):
        _masktune(store, tmp_path / "m", filled)
    for number in (1, 2):
        (tmp_path / "m" / f"masks-{number}").rename(tmp_path / f"put-away-{number}")
    less = replace(CONFIG, masking=replace(CONFIG.masking, sigmas=1.5))
    with pytest.raises(CheckpointError, match=r"\(different masks\)"):
        _masktune(store, tmp_path / "m", less)


def test_another_data_set_is_refused(make_store: Stores, tmp_path: Path) -> None:
    _masktune(make_store(test=8), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"\(different store\)"):
        _masktune(make_store(test=9), tmp_path / "m")


def test_random_masks_of_another_seed_are_refused(make_store: Stores, tmp_path: Path) -> None:
    store, config = make_store(), replace(CONFIG, masking=MaskingConfig(method="random", share=0.2))
    network = new_network(store, config)
    load_or_compute_masks(network, store, config, RUN, folder=tmp_path / "m")
    with pytest.raises(MaskSetError, match="different seed"):
        load_or_compute_masks(network, store, config, replace(RUN, seed=1), folder=tmp_path / "m")


@pytest.mark.parametrize("other", ["{}", digest_of("{}"), None])
def test_another_start_is_refused(make_store: Stores, tmp_path: Path, other: str | None) -> None:
    store = make_store()
    _masktune(store, tmp_path / "m")
    folder = CheckpointFolder(tmp_path / "m" / "finetune-2")
    last = folder.last()
    folder.save(replace(last, identity=json.dumps(json.loads(last.identity) | {"start": other})))
    with pytest.raises(CheckpointError, match=r"\(different start\)"):
        _masktune(store, tmp_path / "m")
