"""The parts of `benchmarks.gpu` that compare a rate with that of the bare step or forward pass."""

from __future__ import annotations

import resource
from collections import deque
from functools import partial

import numpy as np

from benchmarks._common import Aim
from benchmarks._gpu_setup import (
    PRECISIONS,
    SHARE,
    Outcome,
    Setup,
    bare_passes,
    bare_steps,
    first_batch,
    in_turn,
    memory_loader,
    rate,
    share,
    train,
)
from benchmarks.masking import timed
from benchmarks.training import write_photographs
from masktune.contract.hyperparameters import MaskingConfig, OptimizerConfig
from models.backbones.network import Network
from models.data.batches import StoreLoader
from models.data.loader_settings import Masking
from models.data.loaders import evaluation_loader
from models.data.store import Store
from models.masking.compute import compute_mask_set
from models.masking.rule import apply_masks
from models.masking.store import MaskSet
from models.mitigation.features import compute_features
from models.mitigation.stage_features import compute_stage_features, shuffled
from models.training.fit import FitConfig, FitData
from models.types import Labels


def masks(setup: Setup) -> Outcome:
    """The masking stage (maps, thresholds, mask set on disk) beside forward passes."""
    batch, loader = first_batch(setup), memory_loader(setup, setup.sizes.images)
    rows, aims = [], {}
    for name in setup.sizes.networks:
        network = setup.network(name)
        forward = partial(bare_passes, network, batch, len(loader))
        stage = partial(_compute_masks, setup, network, loader)
        seconds = in_turn(
            {
                "forward": partial(timed, forward, setup.device),
                "stage": partial(timed, stage, setup.device),
            },
            setup.sizes.rounds,
        )
        over_forward = share(seconds["forward"], seconds["stage"])
        aims[f"{name}/over_forward"] = Aim(over_forward, at_least=SHARE)
        rates = {way: rate(loader.images, times) for way, times in seconds.items()}
        rows.append({"network": name, **rates, "over_forward": over_forward})
    return Outcome(rows, aims)


def training(setup: Setup) -> Outcome:
    """An epoch of the training loop, and one on masked images, beside bare steps; augmented like photos."""
    batch, images = first_batch(setup), setup.sizes.images
    plain = memory_loader(setup, images, augmentation="crop_flip")
    rows, aims = [], dict[str, Aim]()
    for name in setup.sizes.networks:
        network = setup.network(name)
        masking = Masking(_compute_masks(setup, network, memory_loader(setup, images)), apply_masks)
        masked = memory_loader(setup, images, augmentation="crop_flip", masking=masking)
        for precision in PRECISIONS:
            plan = FitConfig(1, OptimizerConfig(), precision=precision)
            steps = partial(bare_steps, network, batch, plan, len(plain))
            seconds = in_turn(
                {
                    "step": partial(timed, steps, setup.device),
                    "loop": partial(_epoch_seconds, setup, network, plain, plan),
                    "finetune": partial(_epoch_seconds, setup, network, masked, plan),
                },
                setup.sizes.rounds,
            )
            ours = "loop", "finetune"
            shares = {f"{way}_over_step": share(seconds["step"], seconds[way]) for way in ours}
            aims |= {f"{name}/{precision}/{way}": Aim(of, at_least=SHARE) for way, of in shares.items()}
            rates = {way: rate(images, times) for way, times in seconds.items()}
            rows.append({"network": name, "precision": precision, **rates, **shares})
    return Outcome(rows, aims)


def _compute_masks(setup: Setup, network: Network, loader: StoreLoader) -> MaskSet:
    folder = setup.new_folder("masks")
    compute_mask_set(network, loader, MaskingConfig(), setup.run, folder=folder)
    return MaskSet.open(folder)


def _epoch_seconds(setup: Setup, network: Network, loader: StoreLoader, plan: FitConfig) -> float:
    """Seconds of an epoch, without its checkpoint."""
    return train(setup, network, FitData(loader), plan).history[-1].seconds


def features(setup: Setup) -> Outcome:
    """The features of JPEG files beside forward passes, and beside decoding alone; those of early stages too.

    The target is a share of the slower of the two: a host with few cores decodes less than its GPU takes.
    """
    name, images, few = setup.sizes.networks[0], setup.sizes.decoded, setup.sizes.decoded // 6
    folder = setup.new_folder("store")
    write_photographs(folder, np.arange(images, dtype=np.int64) % 2)
    store, network, batch = Store.open(folder), setup.network(name), first_batch(setup)

    def loader(numbers: Labels) -> StoreLoader:
        return evaluation_loader(store, numbers, setup.hyperparameters(name), setup.run)

    numbers = store.rows("train")
    passes = partial(bare_passes, network, batch, few // setup.sizes.batch)
    passes()  # warms up
    forward = rate(few // setup.sizes.batch * setup.sizes.batch, [timed(passes, setup.device)])
    decoding = rate(few, [timed(lambda: deque(loader(numbers[:few]).epoch(None), maxlen=0), setup.device)])
    whole = timed(lambda: compute_features(network, loader(numbers), setup.run), setup.device)
    early = timed(
        lambda: compute_stage_features(network, loader(shuffled(numbers[:few])), setup.run), setup.device
    )
    over_slower = rate(images, [whole]) / min(forward, decoding)
    row = {
        "network": name,
        "images": images,
        "forward": forward,
        "decoding": decoding,
        "features": rate(images, [whole]),
        "with_early_stages": rate(few, [early]),
        "over_slower": over_slower,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    return Outcome([row], {f"{name}/over_slower": Aim(over_slower, at_least=SHARE)})
