"""One pass over a loader with frozen weights: evaluation mode, progress, and a way to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.run import Progress, Run

if TYPE_CHECKING:
    from torch import nn

    from models.data.batches import Batch, Loader

_REPORT_SECONDS = 0.3


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; after it every module has the mode that it had before."""
    before = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def watched(loader: Loader, run: Run) -> Iterator[Batch]:
    """The batches of `loader` in stored order. Reports every 0.3 s and at the end; raises Stopped."""
    start = reported = time.perf_counter()
    steps, images = len(loader), 0
    for step, batch in enumerate(loader.epoch(None), 1):
        run.check()
        yield batch
        images += len(batch.rows)
        now = time.perf_counter()
        if now - reported >= _REPORT_SECONDS or step == steps:
            reported = now
            run.on_progress(Progress(step // steps, 1, step, steps, images / max(now - start, 1e-9)))
