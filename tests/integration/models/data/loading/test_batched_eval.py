"""Passes over a network of which two threads round otherwise than one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from masktune.contract.hyperparameters import MaskingConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.loading.batches import Batch
from models.evaluation.metrics import predict_logits
from models.masking.compute import compute_mask_set
from models.masking.store import MaskSet
from models.run import Run
from tests.machine import lacks


@dataclass(frozen=True)
class Repeated:
    """The same `pixels` as each of `count` batches."""

    pixels: Tensor
    count: int

    @property
    def images(self) -> int:
        return self.count * len(self.pixels)

    def __len__(self) -> int:
        return self.count

    def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
        for index in range(self.count):
            rows = torch.arange(len(self.pixels)) + index * len(self.pixels)
            yield Batch(self.pixels, rows % 2, rows)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_scores_and_maps_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    network = build_network("resnet50", classes=2, image_size=64, seed=1)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    loader = Repeated(pixels, 14)
    alone, shared = (_forward(network, pixels, threads) for threads in (1, 2))
    if torch.equal(alone, shared):
        lacks("rounding by threads")
    logits, maps = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        logits.append(torch.from_numpy(predict_logits(network, loader, Run()).logits))
        compute_mask_set(network, loader, MaskingConfig(), Run(), folder=tmp_path / str(threads))
        maps.append(MaskSet.open(tmp_path / str(threads)).records(torch.arange(loader.images)).maps)
    assert torch.equal(logits[0], alone.repeat(14, 1))
    assert torch.equal(*logits)
    assert torch.equal(*maps)


def _forward(network: Network, pixels: Tensor, threads: int) -> Tensor:
    """The scores of `pixels`, with `threads` at one batch."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        scores: Tensor = network.eval()(pixels)
        return scores
