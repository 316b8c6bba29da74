"""The loop that trains SAM, TAB and CMID: the product's batches, optimizer and selection."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbones.network import Network
from models.data.loading.batched_eval import map_batches
from models.data.loading.batches import Batch, make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.data.loading.loaders import evaluation_loader, train_loader, val_loader
from models.mitigation.features import columns_by_row
from models.training.counting import count
from models.training.optim import make_optimizer
from models.types import Labels
from research.whole_networks.objectives import descend
from research.whole_networks.sets import Experiment

Loss = Callable[[nn.Module, Batch, int], Tensor]
"""Of a network on a batch, in an epoch that counts from 0."""
_Module = TypeVar("_Module", bound=nn.Module)


def cross_entropy(network: nn.Module, batch: Batch, _: int) -> Tensor:
    return F.cross_entropy(network(batch.images), batch.labels)


def train(
    network: _Module,
    experiment: Experiment,
    *,
    epochs: int,
    loss: Loss = cross_entropy,
    radius: float = 0,
    rows: Labels | None = None,
    after_epoch: Callable[[], None] = lambda: None,
) -> _Module:
    """The network at the last epoch of the highest accuracy on val; no group is read. `radius` is SAM's.

    An epoch has as many steps as one over the training split, also where other `rows` are drawn, which may
    repeat.
    """
    store, config, run = experiment.store, experiment.config, experiment.run
    optimizer = make_optimizer(network.to(run.device), config.optimizer)
    loader, val = train_loader(store, config, run), val_loader(store, config, run)
    steps, best, weights = len(loader), -1, network.state_dict()
    if rows is not None:
        settings = LoaderSettings(config.image_size, config.batch_size, several_epochs=True)
        loader = make_loader(store, rows, settings, run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)  # dropout draws from the global generator
        batches = chain.from_iterable(
            loader.epoch(run.generator("whole", number)) for number in range(epochs)
        )
        for epoch in range(epochs):
            network.train()
            for batch in islice(batches, steps):
                descend(network, optimizer, partial(loss, network, batch, epoch), radius)
            if (correct := count(network, val, run).correct) >= best:
                best, weights = correct, {key: part.clone() for key, part in network.state_dict().items()}
            after_epoch()
    network.load_state_dict(weights)
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
