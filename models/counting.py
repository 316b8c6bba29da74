"""Right answers, counted on the device that gives them: of a training's steps, and of a split."""

from __future__ import annotations

from typing import NamedTuple

import torch

from models.backbones import Network
from models.config import Precision
from models.data.batches import Batch, Loader
from models.distributed import total
from models.passes import side_by_side
from models.precision import autocast
from models.run import Run

_FOLDED = 32
"""Steps whose counts are summed at once."""


class StepCounts:
    """Loss and right answers of an epoch, summed for many steps at once: on few numbers an operation costs
    more to begin than to do.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, right, seen
        self._steps: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def add(self, loss: torch.Tensor, predicted: torch.Tensor, labels: torch.Tensor) -> None:
        """The mean loss () of a step, and its answers and labels (B,)."""
        if self._steps and len(self._steps[0][1]) != len(predicted):  # a last batch that is smaller
            self._fold()
        self._steps.append((loss, predicted, labels))
        if len(self._steps) == _FOLDED:
            self._fold()

    def sums(self) -> torch.Tensor:
        """(3,) float64: the loss of all images, how many were right, how many there were."""
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
    """Right of seen; `numbers` answers had finite scores, and no other is right. `batch_mean` is the mean of
    the batches' accuracies, which weighs a smaller last one as much as the others.
    """

    correct: int
    images: int
    numbers: int
    batch_mean: float


def count(network: Network, loader: Loader, run: Run, precision: Precision = "auto") -> Count:
    """In eval mode; over all ranks, each of which brings its own samples."""
    network.eval()
    sums = torch.zeros(5, dtype=torch.float64, device=run.device)  # a Count but its mean, accuracies, batches

    def answer(batch: Batch) -> torch.Tensor:
        run.check()
        with torch.inference_mode(), autocast(run.device, precision):
            scores = network(batch.images)  # (B, K)
            finite = scores.isfinite().all(1)  # the largest of scores that are none is the first, says argmax
            right = ((scores.argmax(1) == batch.labels) & finite).sum()
            size = torch.full_like(right, len(batch.labels))
            accuracy = right / size.double()
            return torch.stack([right.double(), size, finite.sum(), accuracy, torch.ones_like(size)])

    for part in side_by_side(loader.epoch(None), run.device, answer):
        sums += part
    correct, images, numbers, accuracies, batches = total(sums, run).tolist()
    return Count(round(correct), round(images), round(numbers), accuracies / batches)
