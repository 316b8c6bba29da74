"""The compared models of an experiment, trained one after the other with equal budgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.store import Store
from models.masking.compute import RANDOM, load_or_compute_masks
from models.masking.store import MaskSet
from models.masktune import continue_as_control, finetune_on_masks, fit_erm
from models.run import Run
from models.training.checkpoints import CheckpointFolder


class Arm(NamedTuple):
    """One of the compared models; `network` holds its weights now, and `masks` are those of its finetune."""

    name: str
    network: Network
    masks: MaskSet | None = None


def train_arms(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path
) -> Iterator[Arm]:
    """Train ERM, then from its last epoch with equal budgets: random mask, MaskTune, control.

    One iteration of masks. `network` holds each arm's weights in turn, so use an arm before taking the next.
    """
    fit_erm(network, store, config, run, folder=folder / "erm")
    scattered = replace(config, masking=replace(config.masking, method=RANDOM))
    random_set = load_or_compute_masks(network, store, scattered, run, folder=folder / "masks-random")
    masks = load_or_compute_masks(network, store, config, run, folder=folder / "masks")
    yield Arm("erm", network)
    start = CheckpointFolder(folder / "erm").last()
    for name, mask_set in (("random_mask", random_set), ("masktune", masks)):
        finetune_on_masks(network, store, config, run, folder=folder / name, start=start, masks=mask_set)
        yield Arm(name, network, mask_set)
    continue_as_control(network, store, config, run, folder=folder / "control", start=start)
    yield Arm("control", network)
