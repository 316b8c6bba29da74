"""An `Engine` without a network, which answers with its input."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from app.inference import Explain, Scores
from models.data.grey import GreyWindow


class EchoEngine:
    """The first logit of an image is its first pixel. Records the size of each batch.

    While `gate` is closed, every call blocks.
    """

    def __init__(self, *, nbytes: int = 1000, failure: Exception | None = None) -> None:
        self.name = "echo"
        self.image_size = 2
        self.grey_window: GreyWindow | None = None
        self.nbytes = nbytes
        self.batches: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.failure = failure

    def run(self, images: NDArray[np.uint8], explain: Explain | None, *, features: bool = False) -> Scores:
        self.batches.append(len(images))
        self.entered.set()
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        first = images[:, 0, 0, 0].astype(np.float32)
        logits = np.stack([first, -first], axis=1)
        maps = None if explain is None else first[:, None, None]
        return Scores(logits, None, maps)


def pictures(*values: int) -> NDArray[np.uint8]:
    """One image per value, shape (n, 3, 2, 2)."""
    return np.stack([np.full((3, 2, 2), value, np.uint8) for value in values])
