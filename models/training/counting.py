"""Correct predictions, counted on the device: over the steps of a training, and over a split; and the
floating-point type of both."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from masktune.contract.hyperparameters import Precision
from models.data.loading.batched_eval import side_by_side
from models.data.loading.batches import Batch, Loader
from models.run import Run

_FOLDED = 32
"""Number of steps whose counts are summed at once.

Between two steps of SmallCNN, an operation on a few
numbers takes four times as long as in a loop of its
own, because its data are in no cache.
"""


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """bfloat16 if requested, and by default on a GPU that supports it in hardware."""
    enabled = precision == "bf16" or (precision == "auto" and _has_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


@cache
def _has_bfloat16(device: torch.device) -> bool:
    """Hardware support only: on older GPUs cuDNN has no bfloat16, and torch's own bfloat16 convolutions are
    far slower than float32.
    """
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


class StepCounts:
    """Loss and correct predictions of an epoch, summed for many steps at once: launching an operation on few
    numbers costs more than the operation itself.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, right, seen
        self._steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def add(self, loss: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor) -> None:
        """Add the mean loss () of a step, and its predictions and labels (B,)."""
        if self._steps and len(self._steps[0][1]) != len(predicted):  # a last batch of another size
            self._fold()
        self._steps.append((loss, predicted, labels))
        if len(self._steps) == _FOLDED:
            self._fold()

    def sums(self) -> torch.Tensor:
        """(3,) float64: summed loss, number of correct images, number of images."""
        self._fold()
        return self._sums

    def _fold(self) -> None:
        if not self._steps:
            return
        losses, predicted, labels = zip(*self._steps, strict=True)
        size = len(predicted[0])
        right = (torch.cat(predicted) == torch.cat(labels)).sum()
        loss = torch.stack(losses).double().sum() * size
        self._sums += torch.stack([loss, right, torch.full_like(right, size * len(losses))])
        self._steps.clear()


class Count(NamedTuple):
    """`correct` of `images` predictions.
    `numbers` of them had finite scores; the others count as wrong. `batch_mean` is the mean of the batches'
    accuracies, where a smaller last batch weighs as much as others.
    """

    correct: int
    images: int
    numbers: int
    batch_mean: float


def count(network: nn.Module, loader: Loader, run: Run, precision: Precision = "auto") -> Count:
    """Evaluate `network`, which turns batches into logits, in eval mode."""
    network.eval()
    sums = torch.zeros(5, dtype=torch.float64, device=run.device)  # a Count's counts, accuracies, batches

    def answer(batch: Batch) -> torch.Tensor:
        run.check()
        with torch.inference_mode(), autocast(run.device, precision):
            scores = network(batch.images)  # (B, K)
            finite = scores.isfinite().all(1)  # argmax names a class for NaN scores, too
            right = ((scores.argmax(1) == batch.labels) & finite).sum()
            size = torch.full_like(right, len(batch.labels))
            accuracy = right / size.double()
            return torch.stack([right.double(), size, finite.sum(), accuracy, torch.ones_like(size)])

    for part in side_by_side(loader.epoch(None), run.device, answer):
        sums += part
    correct, images, numbers, accuracies, batches = sums.tolist()
    return Count(round(correct), round(images), round(numbers), accuracies / batches)
