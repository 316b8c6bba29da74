"""What the parts of `benchmarks.gpu` share: sizes, images in memory, bare passes, and times taken in turn."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks._common import Aim
from masktune.contract.hyperparameters import Augmentation, Hyperparameters, Precision
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loading.batched_eval import evaluating
from models.data.loading.batches import Batch, ResidentPixels, StoreLoader
from models.data.loading.loader_settings import LoaderSettings, Masking
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.run import Run
from models.training.checkpoints import CheckpointFolder
from models.training.counting import autocast
from models.training.fit import FitConfig, FitData, FitResult, fit
from models.training.optim import make_optimizer

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
SHARE = 0.9
"""The least rate of a step or a pass of ours, as a share of the bare one."""


class Sizes(NamedTuple):
    """`images` are those of one epoch or pass in memory, `decoded` those that are read from JPEG files.

    Of Biased MNIST, every `mnist_stride`-th image is used. The first of `rounds` + 1 warms up. `threads` None
    takes every core.
    """

    networks: tuple[str, ...]
    side: int
    batch: int
    images: int
    decoded: int
    mnist_epochs: int
    mnist_stride: int
    rounds: int
    threads: int | None


FULL = Sizes(
    networks=("resnet50", "vit_small_patch16_224"),
    side=224,
    batch=128,
    images=3072,
    decoded=50_000,
    mnist_epochs=100,
    mnist_stride=1,
    rounds=2,
    threads=None,
)
QUICK = Sizes(
    networks=("resnet18", "vit_tiny_patch16_224"),
    side=64,
    batch=4,
    images=8,
    decoded=24,
    mnist_epochs=1,
    mnist_stride=200,
    rounds=1,
    threads=1,  # of two on busy cores, one mostly waits for the other
)


@dataclass(frozen=True)
class Setup:
    """Where a part runs, and on what; `folder` is its own, and empty."""

    run: Run
    sizes: Sizes
    mnist: Path
    folder: Path

    @property
    def device(self) -> torch.device:
        return self.run.device

    def network(self, name: str) -> Network:
        """The network with the same random weights each time, on the device."""
        return build_network(name, classes=2, image_size=self.sizes.side, seed=1).to(self.device)

    def new_folder(self, name: str) -> Path:
        """The path of a folder that does not exist yet."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / name

    def hyperparameters(self, name: str) -> Hyperparameters:
        return Hyperparameters(backbone=name, image_size=self.sizes.side, batch_size=self.sizes.batch)


class Outcome(NamedTuple):
    """The figures of a part, all rows with the same keys, and its targets by name."""

    rows: list[dict[str, Any]]
    aims: dict[str, Aim]


def memory_loader(
    setup: Setup, images: int, *, augmentation: Augmentation = "none", masking: Masking | None = None
) -> StoreLoader:
    """Batches of random images in the device's memory, with labels 0 and 1 in turn."""
    sizes = setup.sizes
    store = _labels_alone(setup.folder / f"labels-{images}", images)
    rows = store.rows("train")
    shape = (images, sizes.side, sizes.side, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    settings = LoaderSettings(sizes.side, sizes.batch, augmentation, masking)
    source = ResidentPixels(pixels, rows, settings, setup.device)
    return StoreLoader(source, store, rows, settings, setup.run)


def _labels_alone(folder: Path, images: int) -> Store:
    """A store whose images are empty files."""
    if not folder.exists():
        with StoreWriter(folder) as writer:
            for number in range(images):
                writer.add(Row(f"{number}.png", number % 2, "train", -1, width=1, height=1, image=b""))
                writer.pixels.add(None)
            writer.finish(DatasetInfo("random", "builtin", ("a", "b")))
    return Store.open(folder)


def first_batch(setup: Setup) -> Batch:
    """One batch that bare steps and passes repeat."""
    return next(memory_loader(setup, setup.sizes.batch).epoch(None))


def bare_passes(network: Network, batch: Batch, count: int) -> None:
    """`count` forward passes in full float32, as every pass with frozen weights is."""
    with evaluating(network), torch.inference_mode():
        for _ in range(count):
            network(batch.images)


def bare_steps(network: Network, batch: Batch, plan: FitConfig, count: int) -> None:
    """`count` training steps of the loop's optimizer, and nothing else of the loop."""
    optimizer = make_optimizer(network.train(), plan.optimizer)
    for _ in range(count):
        with autocast(batch.images.device, plan.precision):
            loss = F.cross_entropy(network(batch.images).float(), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


def train(setup: Setup, network: Network, data: FitData, plan: FitConfig) -> FitResult:
    """Run `fit`, with checkpoints in a new folder."""
    checkpoints = CheckpointFolder(setup.new_folder("training"))
    return fit(network, data, config=plan, run=setup.run, checkpoints=checkpoints)


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, taken in turn, so that a slow moment affects all; a first round warms up."""
    rounds_of_ways = [{name: way() for name, way in ways.items()} for _ in range(rounds + 1)]
    return {name: [one[name] for one in rounds_of_ways[1:]] for name in ways}


def rate(images: int, seconds: list[float]) -> float:
    """Images per second, by the median."""
    return images / statistics.median(seconds)


def share(bare: list[float], ours: list[float]) -> float:
    """Our rate over the bare one: the median of the pairs."""
    return statistics.median(b / o for b, o in zip(bare, ours, strict=True))
