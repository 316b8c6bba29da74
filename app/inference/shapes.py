"""What goes into an engine and what comes out of it. No torch here: another engine needs none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.calibration import Calibration
from models.data.store import Store
from models.selective import Judged


class Part(NamedTuple):
    """One network of a pair: its id, and the artifact that holds it."""

    id: str
    artifact: str


class Pair(NamedTuple):
    """A model and, where it was tuned from one, its ERM model: loaded together, run as one call.

    A tuple, as its parts are: each answer looks its engine up, and a dataclass is hashed in Python.
    """

    model: Part
    erm: Part | None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The model, and its ERM model where it has one."""
        return (self.model,) if self.erm is None else (self.model, self.erm)

    def has(self, model_id: str) -> bool:
        """Whether this model is one of the two."""
        return any(part.id == model_id for part in self.parts)


class Explain(NamedTuple):
    """Which saliency map is wanted. `target` is a class index; None: the predicted class."""

    method: str
    target: int | None = None


class Upload(NamedTuple):
    """An encoded image. `name` and `media_type` are what the client calls it, held against the content."""

    data: bytes
    name: str | None = None
    media_type: str | None = None


class Scores(NamedTuple):
    """Raw outputs for N images of K classes, float32.

    `logits` (N, K); `erm_logits` (N, K), None without an ERM model; `maps` (N, h, w) raw and of
    low resolution, with their `targets` (N,) int64, both None unless they were asked for. Engines leave
    `judged` to the batcher, which judges a batch at once.
    """

    logits: NDArray[np.float32]
    erm_logits: NDArray[np.float32] | None
    maps: NDArray[np.float32] | None = None
    targets: NDArray[np.int64] | None = None
    judged: Judged | None = None

    def rows(self, first: int, last: int) -> Scores:
        """Those of the images from `first` up to, not including, `last`."""
        return Scores(
            self.logits[first:last],
            None if self.erm_logits is None else self.erm_logits[first:last],
            None if self.maps is None else self.maps[first:last],
            None if self.targets is None else self.targets[first:last],
            None if self.judged is None else self.judged.rows(first, last),
        )

    @classmethod
    def joined(cls, pieces: Sequence[Scores]) -> Scores:
        """Pieces of one question, one behind the other."""
        if len(pieces) == 1:
            return pieces[0]
        return cls(
            np.concatenate([p.logits for p in pieces]),
            _concatenated([p.erm_logits for p in pieces]),
            _concatenated([p.maps for p in pieces]),
            _concatenated([p.targets for p in pieces]),
        )


Number = TypeVar("Number", bound=np.generic)


def _concatenated(parts: Sequence[NDArray[Number] | None]) -> NDArray[Number] | None:
    """None where there is none of it."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None


class Ground(NamedTuple):
    """The packed data set that a model was calibrated on, and the id of that calibration."""

    store: Store
    calibration: str


class Engine(Protocol):
    """A loaded pair, run as one call. Images are (N, 3, S, S) uint8 RGB.

    Predictions and slow explanations call it from a thread each, at the same time.
    """

    @property
    def name(self) -> str:
        """What runs the networks: `torch`, `onnxruntime`, `openvino`."""
        ...

    @property
    def image_size(self) -> int:
        """S, the side in pixels of the square that the networks see."""
        ...

    @property
    def classes(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Memory that the weights take, in bytes."""
        ...

    @property
    def quick(self) -> bool:
        """Whether it may run on the event loop (`turns`)."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """Its own, which alone may judge its answers; None: it says what torch says, the model's holds."""
        ...

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores: ...
