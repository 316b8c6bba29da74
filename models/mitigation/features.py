"""The last layer of a network as a linear head: compute its inputs, and replace its weights."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backbones.network import Network
from models.data.loading.batched_eval import evaluating, map_batches
from models.data.loading.batches import Batch, StoreLoader
from models.errors import LearningError
from models.run import Run
from models.types import Labels


class HeadError(LearningError, ValueError):
    """The last layer cannot be retrained on frozen features. The message says why."""

    reason = "head_not_retrainable"


@dataclass(frozen=True)
class Features:
    """The last layer's inputs for N samples, `values` (N, D) float32, and its `logits` (N, K) at that time.

    `rows` are row numbers of the store, `labels` (N,) classes.
    """

    rows: Labels
    labels: Labels
    values: NDArray[np.float32]
    logits: NDArray[np.float32]

    @property
    def predictions(self) -> Labels:
        return np.asarray(self.logits.argmax(1), np.int64)

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])


def compute_features(network: Network, loader: StoreLoader, run: Run) -> Features:
    """Compute features in one forward pass, in evaluation mode, in ascending order of rows.

    Raises Stopped, and HeadError unless the last layer is linear and sees one vector per image.
    """
    with evaluating(network), inputs_of(linear_layer(network)) as received:
        batches = map_batches(loader, run, partial(forward_batch, network, received))
        return Features(*columns_by_row(batches, loader.rows))


def columns_by_row(batches: Iterable[Sequence[Tensor]], rows: Labels) -> list[NDArray[Any]]:
    """The columns of all batches, (N, …) in ascending order of `rows` (N,), which are the first of them.

    Each batch is written to its place at once: to join and sort them afterwards would need three times the
    memory.
    """
    ordered, columns = np.sort(rows), list[NDArray[Any]]()
    for batch in batches:
        parts = [part.numpy() for part in batch]
        columns = columns or [np.empty((len(rows), *part.shape[1:]), part.dtype) for part in parts]
        places = np.searchsorted(ordered, parts[0])
        for column, part in zip(columns, parts, strict=True):
            column[places] = part
    return columns


def forward_batch(network: Network, received: LayerInputs, batch: Batch) -> tuple[Tensor, ...]:
    """Rows (B,), labels (B,), inputs (B, D) of the last layer, and logits (B, K) of one batch, on the CPU."""
    with torch.inference_mode():
        logits = network(batch.images).float().cpu()
    values = received.inputs.pop().float().cpu()
    if values.ndim != 2:
        raise HeadError(f"the last layer of {network.spec.name} sees more than one vector per image")
    return batch.rows, batch.labels.cpu(), values, logits


def linear_layer(network: Network) -> nn.Linear:
    """The last layer. Raises HeadError if it is a convolution, has no bias, or is one of several."""
    layer = network.classifier
    if len(network.classifiers) > 1:
        raise HeadError(f"{network.spec.name} sums the scores of several last layers: use another backbone")
    if not isinstance(layer, nn.Linear) or "bias" not in dict(layer.named_parameters()):
        detail = "does not end in a linear layer with a bias: use another backbone"
        raise HeadError(f"{network.spec.name} {detail}")
    return layer


def has_linear_layer(network: Network) -> bool:
    """Whether `linear_layer` returns one."""
    try:
        linear_layer(network)
    except HeadError:
        return False
    return True


class LayerInputs(threading.local):
    """The inputs that a layer received, separate for each thread that calls the network."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[LayerInputs]:
    received = LayerInputs()
    hook = layer.register_forward_pre_hook(lambda _, args: received.inputs.append(args[0]))
    try:
        yield received
    finally:
        hook.remove()


class Head(NamedTuple):
    """Logits of raw features are `values @ weight.T + bias`: weight (K, D), bias (K,) float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values @ self.weight.T + self.bias


def head_of(network: Network) -> Head:
    """The last layer's present weights. Raises HeadError if it is not one linear layer with a bias."""
    layer = linear_layer(network)
    weight, bias = layer.weight.detach().cpu().numpy(), layer.bias.detach().cpu().numpy()
    return Head(weight.copy(), bias.copy())


def install_head(network: Network, head: Head) -> None:
    """Replace the last layer's weights with `head`. Raises HeadError if it does not fit."""
    layer = linear_layer(network)
    if layer.weight.shape != head.weight.shape:
        raise HeadError(f"a head of {head.weight.shape} does not fit the last layer of {network.spec.name}")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
