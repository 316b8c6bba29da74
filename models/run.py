"""The arguments of every long computation: device, random numbers, progress, and when to stop.

Nothing here is global (rule 7): a generator is derived from (seed, stage, epoch), so an epoch draws the
same numbers whether or not its process also ran the epoch before. torch is imported only with the first
`Run`, because an import job reports its progress without it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


_REPORT_SECONDS = 0.3


class Progress(NamedTuple):
    """One report of a running stage.
    `epoch` counts finished epochs, `step` finished steps of this one. `checkpoint`: a part of the stage's
    work was saved, from which another attempt goes on."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float
    metrics: Mapping[str, float] = {}
    checkpoint: bool = False


class Stopped(Exception):
    """`should_stop` returned True. Everything up to the last checkpoint is safe."""


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """The default `on_progress`."""


def never_stop() -> bool:
    """The default `should_stop`."""
    return False


@dataclass(frozen=True)
class Run:
    """Where a stage runs, and whom it reports to."""

    device: torch.device = field(default_factory=lambda: resolve_device("cpu"))
    seed: int = 0
    on_progress: OnProgress = ignore_progress
    should_stop: Callable[[], bool] = never_stop

    def generator(self, stage: str, epoch: int = 0) -> torch.Generator:
        """A CPU generator that depends on (seed, stage, epoch) alone."""
        import torch

        digest = hashlib.sha256(f"{self.seed}/{stage}/{epoch}".encode()).digest()
        generator = torch.Generator()
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return generator

    def check(self) -> None:
        """Raise `Stopped` if `should_stop` returns True."""
        if self.should_stop():
            raise Stopped


class ThrottledProgress:
    """Reports the steps of a pass or an epoch to `run`, at most once per `_REPORT_SECONDS`."""

    def __init__(self, run: Run, steps: int, *, epoch: int = 0, epochs: int = 1) -> None:
        self._run, self._steps, self._epoch, self._epochs = run, steps, epoch, epochs
        self._started = self._reported = time.monotonic()
        self._images = 0

    def tick(self, step: int, images: int, *, finished: bool = False) -> None:
        """Count a step of `images`; `finished` is reported at once, as the end of the epoch."""
        self._images += images
        now = time.monotonic()
        if finished or now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            speed = self._images / max(now - self._started, 1e-9)
            epoch = self._epoch + finished
            self._run.on_progress(Progress(epoch, self._epochs, step, self._steps, speed))


def resolve_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA if there is a GPU, else the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def device_name(device: torch.device | str) -> str:
    """The device's name for reports: the GPU's model, or cpu."""
    kind = str(device).partition(":")[0]
    if kind != "cuda":
        return kind
    import torch

    return torch.cuda.get_device_name(device)
