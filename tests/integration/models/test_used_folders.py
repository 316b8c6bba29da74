"""A folder that was used before: gone on with for the same options, refused for others, by their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.checkpoints import CheckpointError, CheckpointFolder
from models.config import Hyperparameters, MaskingConfig
from models.data.store import Store
from models.mask_set import MaskSetError
from models.masktune import compute_masks, masktune, new_network
from models.run import Run

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
    with pytest.raises(MaskSetError, match=rf"other {', '.join(changes)}\).* new folder"):
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
    with pytest.raises(CheckpointError, match=rf"\(other {said}\)"):
        _masktune(store, tmp_path / "m", replace(CONFIG, **changes))


def test_another_fill_and_other_masks_are_refused(make_store: Stores, tmp_path: Path) -> None:
    store = make_store()
    _masktune(store, tmp_path / "m")
    filled = replace(CONFIG, masking=replace(CONFIG.masking, fill="mean"))
    with pytest.raises(CheckpointError, match=r"\(other fill\)"):
        _masktune(store, tmp_path / "m", filled)
    for number in (1, 2):
        (tmp_path / "m" / f"masks-{number}").rename(tmp_path / f"put-away-{number}")
    less = replace(CONFIG, masking=replace(CONFIG.masking, sigmas=1.5))
    with pytest.raises(CheckpointError, match=r"\(other masks\)"):
        _masktune(store, tmp_path / "m", less)


def test_another_data_set_is_refused(make_store: Stores, tmp_path: Path) -> None:
    _masktune(make_store(test=8), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"\(other store\)"):
        _masktune(make_store(test=9), tmp_path / "m")


def test_random_masks_of_another_seed_are_refused(make_store: Stores, tmp_path: Path) -> None:
    store, config = make_store(), replace(CONFIG, masking=MaskingConfig(method="random", share=0.2))
    network = new_network(store, config)
    compute_masks(network, store, config, RUN, folder=tmp_path / "m")
    with pytest.raises(MaskSetError, match="other seed"):
        compute_masks(network, store, config, replace(RUN, seed=1), folder=tmp_path / "m")


def test_a_job_that_the_version_before_began_goes_on(make_store: Stores, tmp_path: Path) -> None:
    """Its checkpoints and mask sets say less of what made them, and one seed stands in all sets."""
    store = make_store()
    straight = _masktune(store, tmp_path / "m")
    for trained in ("erm", "finetune-1", "finetune-2"):
        folder = CheckpointFolder(tmp_path / "m" / trained)
        last = folder.last()
        folder.save(replace(last, identity=_as_before(last.identity)))
    for masks in ("masks-1", "masks-2"):
        file = tmp_path / "m" / masks / "mask_set.json"
        header = json.loads(file.read_text()) | {"seed": RUN.seed}
        del header["crop"]
        file.write_text(json.dumps(header))
    assert _masktune(store, tmp_path / "m") == straight


def _as_before(identity: str) -> str:
    known = json.loads(identity)
    for added in ("store", "augmentation", "batch_size", "masks", "fill"):
        del known[added]
    if known["start"] is not None:
        known["start"] = _as_before(known["start"])
    return json.dumps(known, sort_keys=True)
