"""Inputs and outputs of an engine, and calibrations. No torch here: other engines do not need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.data.grey import GreyWindow
from models.selective import CalibrationTable, Reference, Share, references


class StoredNetwork(NamedTuple):
    """One network of a pair: its id, and the artifacts that hold it (`ModelRow`)."""

    id: str
    artifact: str
    backbone_artifact: str | None = None


class Pair(NamedTuple):
    """A model and, if it was tuned from one, its ERM model: loaded together and run in one call.

    A tuple of tuples, because each answer looks up its engine, and dataclasses are hashed in Python.
    """

    model: StoredNetwork
    erm: StoredNetwork | None

    @property
    def networks(self) -> tuple[StoredNetwork, ...]:
        """The model, and its ERM model if it has one."""
        return (self.model,) if self.erm is None else (self.model, self.erm)

    def has(self, model_id: str) -> bool:
        """Whether this model is one of the pair's networks."""
        return any(network.id == model_id for network in self.networks)


class Explain(NamedTuple):
    """The requested saliency map. `target` is a class index; None means the predicted class."""

    method: str
    target: int | None = None


class Upload(NamedTuple):
    """An encoded image. `name` and `media_type` are the client's, and are checked against the content."""

    content: bytes
    name: str | None = None
    media_type: str | None = None


class Scores(NamedTuple):
    """Raw outputs for N images of K classes, float32.

    `logits` are (N, K); `erm_logits` (N, K), None without an ERM model; `maps` (N, h, w), raw and of low
    resolution, with their `targets` (N,) int64, both None unless requested; so are `features` (N, D), the
    inputs of the served model's last layer.
    """

    logits: NDArray[np.float32]
    erm_logits: NDArray[np.float32] | None
    maps: NDArray[np.float32] | None = None
    targets: NDArray[np.int64] | None = None
    features: NDArray[np.float32] | None = None

    def rows(self, first: int, last: int) -> Scores:
        """Return the scores of images `first` (inclusive) to `last` (exclusive)."""
        columns: Iterable[Any] = self
        rows: Any = (None if column is None else column[first:last] for column in columns)
        return Scores(*rows)

    @classmethod
    def joined(cls, pieces: Sequence[Scores]) -> Scores:
        """Concatenate pieces of one request."""
        if len(pieces) == 1:
            return pieces[0]
        columns: Iterable[Any] = zip(*pieces, strict=True)
        joined: Any = (None if parts[0] is None else np.concatenate(parts) for parts in columns)
        return cls(*joined)


class Engine(Protocol):
    """A loaded pair, run in one call.
    Images are (N, 3, S, S) uint8 RGB.

    Must be thread-safe: predictions and slow explanations call it from two threads at the same time.
    """

    @property
    def name(self) -> str:
        """The library that runs the networks: `torch` or `onnxruntime`."""
        ...

    @property
    def image_size(self) -> int:
        """S, the side in pixels of the square that the networks see."""
        ...

    @property
    def grey_window(self) -> GreyWindow | None:
        """The levels of 16-bit grey images that the networks see as 0 to 255; None for their upper 8 bits."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory of the weights, in bytes."""
        ...

    def run(self, images: NDArray[np.uint8], explain: Explain | None, *, features: bool = False) -> Scores:
        """Only a network that ends in one linear layer has `features`."""
        ...


@dataclass(frozen=True, eq=False)
class Calibration:
    """How often answers were right on the calibration split: the tables of one model by score, and those of
    the split's groups and classes (name → table) by score.

    `disagreement` is between the model and its ERM half on the split, None if unknown. `temperature` is that
    of the model's probabilities. `n_subjects` of the samples are the one image of a subject; None without
    subjects. `groups_inferred`: nobody labelled the groups; `lacking` are those of them whose images lack the
    pattern of their class.

    `predicted` are the tables by the predicted class. `true_log_probabilities`, of all classes in order, are
    those of the true class of its samples, the finite ones, descending.

    Samples that are unlike the training images count as not answered, but in `unlike_answered`, the tables by
    score of a model that can tell which these are.
    """

    id: str
    created_at: float | None
    tables: Mapping[str, CalibrationTable]
    groups: Mapping[str, Mapping[str, CalibrationTable]]
    classes: Mapping[str, Mapping[str, CalibrationTable]] = field(default_factory=dict)
    disagreement: Share | None = None
    temperature: float = 1.0
    n_subjects: int | None = None
    groups_inferred: bool = False
    lacking: frozenset[str] = frozenset()
    predicted: Mapping[str, Mapping[str, CalibrationTable]] = field(default_factory=dict)
    true_log_probabilities: Mapping[str, Sequence[float]] = field(default_factory=dict)
    unlike_answered: Mapping[str, CalibrationTable] = field(default_factory=dict)

    @cached_property
    def of_scores_alone(self) -> Calibration:
        """The calibration of the rule that answers by the score alone, and so needs no features.
        Without groups and classes, whose tables are of the full rule."""
        if not self.unlike_answered:
            return self
        return replace(
            self,
            tables=self.unlike_answered,
            groups={},
            classes={},
            predicted={},
            true_log_probabilities={},
            unlike_answered={},
        )

    @cached_property
    def references(self) -> Mapping[str, tuple[Reference, ...]]:
        """The thresholds that drift monitoring watches, by score."""
        return {name: references(table) for name, table in self.tables.items()}
