"""Base class of engines that run a pair as two graphs in a library other than torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference.engines.torch import SIGNED, TorchEngine
from app.inference.types import Explain, Scores
from models.data.grey import GreyWindow

OF_IMAGES = frozenset({"fullgrad", "scorecam"}) | SIGNED
"""Methods that torch must compute: two perturb the images, the others need torch's exact activations."""


class Graphs(NamedTuple):
    """The files of a pair's graphs; `erm` is None if the pair has no ERM model."""

    model: Path
    erm: Path | None


class Graph(Protocol):
    """One network, loaded in the library."""

    def run(self, batch: NDArray[np.float32], *names: str) -> list[NDArray[np.float32]]:
        """Return the named outputs (`logits`, `activation`) for (N, 3, S, S) in 0..1."""
        ...


class GraphEngine(ABC):
    """Implements `Engine`. The graphs compute logits and activations, torch's head the maps.

    It keeps the torch network of the served model, because a head that is not a linear layer is
    differentiated, and two methods perturb the input. It drops the ERM model's torch network.
    """

    def __init__(self, files: Graphs, model: Graph, erm: Graph | None, torch_engine: TorchEngine) -> None:
        self._model, self._erm = model, erm
        self._torch = torch_engine.alone()
        self._graph_bytes = sum(path.stat().st_size for path in files if path is not None)

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the library."""

    @property
    def image_size(self) -> int:
        return self._torch.image_size

    @property
    def grey_window(self) -> GreyWindow | None:
        return self._torch.grey_window

    @property
    def classes(self) -> int:
        return self._torch.classes

    @property
    def nbytes(self) -> int:
        """Upper bound: a library may keep weights in lower precision than their file."""
        return self._graph_bytes + self._torch.nbytes

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        batch = np.divide(images, np.float32(255), dtype=np.float32)  # (N, 3, S, S)
        erm_logits = None if self._erm is None else self._erm.run(batch, "logits")[0]
        if explain is None:
            return Scores(self._model.run(batch, "logits")[0], erm_logits)
        if explain.method in OF_IMAGES:
            return self.perturbed(images, batch, explain)._replace(erm_logits=erm_logits)
        logits, activation = self._model.run(batch, "logits", "activation")
        maps, targets = self._torch.explain(activation, logits, explain)
        return Scores(logits, erm_logits, maps, targets)

    @abstractmethod
    def perturbed(self, images: NDArray[np.uint8], batch: NDArray[np.float32], explain: Explain) -> Scores:
        """Run the served model with a method of `OF_IMAGES`, with maps; `batch` is `images` in 0..1."""
