"""The loop that trains SAM, TAB and CMID: the product's batches, optimizer and selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from models.backbones.network import Network
from models.data.loading.batched_eval import map_batches
from models.data.loading.batches import Batch, Loader, make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.loaders import evaluation_loader, train_loader, val_loader
from models.mitigation.features import columns_by_row
from models.run import Run
from models.runtime.files import replacing
from models.training.counting import count
from models.training.optim import make_optimizer
from models.types import Labels
from research.whole_networks.objectives import sharpness_aware_step
from research.whole_networks.sets import Experiment

Loss = Callable[[nn.Module, Batch, int], Tensor]
"""Of a network on a batch, in an epoch that counts from 0."""
Step = Callable[[nn.Module, Optimizer, Callable[[], Tensor]], None]


def cross_entropy(network: nn.Module, batch: Batch, _: int) -> Tensor:
    return F.cross_entropy(network(batch.images), batch.labels)


def plain_step(_: nn.Module, optimizer: Optimizer, loss: Callable[[], Tensor]) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss())
    optimizer.step()


def sharp_step(radius: float) -> Step:
    return lambda network, optimizer, loss: sharpness_aware_step(network, optimizer, loss, radius)


def train(
    experiment: Experiment,
    name: str,
    *,
    epochs: int,
    loss: Loss = cross_entropy,
    step: Step = plain_step,
    rows: Labels | None = None,
    after_epoch: Callable[[Network], None] = lambda _: None,
) -> Network:
    """A new network, at the last epoch of the highest accuracy on val; no group is read.

    An epoch has as many steps as one over the training split, also where other `rows` are drawn, which may
    repeat.
    """
    store, config, run = experiment.store, experiment.config, experiment.run
    network = experiment.new_network().to(run.device)
    optimizer = make_optimizer(network, config.optimizer)
    loader = train_loader(store, config, run)
    steps, val = len(loader), val_loader(store, config, run)
    if rows is not None:
        settings = LoaderSettings(config.image_size, config.batch_size, several_epochs=True)
        loader = make_loader(store, rows, settings, run)
    best, weights = -1, network.state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)  # dropout draws from the global generator
        batches = _endless(loader, run, name)
        for epoch in range(epochs):
            network.train()
            for batch in islice(batches, steps):
                step(network, optimizer, lambda: loss(network, batch, epoch))  # noqa: B023  # called at once
            correct = count(network, val, run).correct
            if correct >= best:
                best, weights = correct, {key: part.clone() for key, part in network.state_dict().items()}
            after_epoch(network)
    network.load_state_dict(weights)
    return network.eval()


def _endless(loader: Loader, run: Run, name: str) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.epoch(run.generator(name, epoch))
        epoch += 1


def saved(experiment: Experiment, name: str, make: Callable[[], Network]) -> Network:
    """The network of that name in the experiment's folder, made if there is none."""
    path = experiment.folder / f"{name}.pt"
    if not path.exists():
        weights = make().state_dict()
        with replacing(path) as file:
            torch.save(weights, file)
    network = experiment.new_network()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def losses(network: Network, experiment: Experiment) -> NDArray[np.float32]:
    """The cross-entropy (N,) of each training image, in stored order."""
    store, config, run = experiment.store, experiment.config, experiment.run
    loader = evaluation_loader(store, store.rows("train"), config, run)

    def of_batch(batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            return batch.rows, F.cross_entropy(network(batch.images), batch.labels, reduction="none").cpu()

    network.eval()
    (_, of_rows) = columns_by_row(map_batches(loader, run, of_batch), loader.rows)
    return np.asarray(of_rows, np.float32)
