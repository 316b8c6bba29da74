"""Slices inferred from where a model looks: clusters of saliency maps within each class.

They are guesses: a slice is a way of looking, not a group that anybody labelled. Where true groups
are known, the agreement says whether the guess found them. A map follows its model's answer, so that a
slice may hold just its mistakes: its accuracy is no evidence against the model. No torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from models.clusters import MAX_CLUSTERS, MIN_SILHOUETTE, MIN_SIZE, REFERENCES, cluster
from models.gaze import Floats, Labels, Maps, shares
from models.statistics import wilson

RULE = (
    f"The maps of a class are divided into 2 to {MAX_CLUSTERS} slices of at least {MIN_SIZE} images, in the "
    f"number with the best silhouette, if that is at least {MIN_SILHOUETTE} and above that of {REFERENCES} "
    "samples of one Gaussian with the same mean and covariance, divided in the same way; otherwise they are "
    "one slice."
)
Reading = Literal["follows", "partly", "misses"]

_EXAMPLES = 8
_MAP_SIDE = 8  # larger maps are averaged down to it before clustering
_RESAMPLES = 200
_FOLLOWS, _MISSES = 0.5, 0.1


@dataclass(frozen=True)
class ModelAccuracy:
    """One model on the samples of a slice: `correct` of `n`, with its 95 % Wilson interval."""

    model: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class InferredSlice:
    """`n` samples of one class that are looked at alike, `share` of its samples with a map.

    `examples` are row numbers: the medoid, then the samples nearest to it. `mean_map` (h, w) sums to 1.
    """

    label: int
    class_name: str
    index: int
    n: int
    share: float
    examples: tuple[int, ...]
    mean_map: list[list[float]]
    accuracies: tuple[ModelAccuracy, ...]


@dataclass(frozen=True)
class Agreement:
    """Adjusted mutual information of slices and true groups: 0 at chance, 1 when they are the same.

    Bootstrap 95 % interval over the `n` samples. `reading`: follows where the interval is above 0.5,
    misses where it is below 0.1, else partly.
    """

    n: int
    adjusted_mutual_information: float
    low: float
    high: float
    reading: Reading


@dataclass(frozen=True)
class ClassSlices:
    """How one class was cut. `silhouette` is the best cut's, `reference` the Gaussian samples' largest.

    None where it was not asked for: too few samples, or too low a silhouette. `undefined` samples had
    no map with any mass. `agreement` is None without two groups in the class.
    """

    label: int
    class_name: str
    n: int
    undefined: int
    slices: int
    silhouette: float | None
    reference: float | None
    agreement: Agreement | None


@dataclass(frozen=True)
class InferredSlices:
    """All classes and their slices, largest first. `inferred` is always true: nobody labelled them."""

    inferred: Literal[True]
    rule: str
    classes: tuple[ClassSlices, ...]
    slices: tuple[InferredSlice, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


class Looked(NamedTuple):
    """N samples that a model looked at; `maps` (N, h, w), `groups` −1 where unknown."""

    rows: Labels
    labels: Labels
    maps: Maps
    groups: Labels | None = None


def infer_slices(
    looked: Looked,
    *,
    classes: Sequence[str],
    predictions: Mapping[str, Labels],
    rng: np.random.Generator,
) -> InferredSlices:
    """Cut each class by `RULE`; `predictions` (N,) of any number of models are judged on each slice.

    Maps are compared as the square roots of their shares (Hellinger's distance), so that one hot
    place does not drown the rest. About half a second a class.
    """
    mass = shares(looked.maps)
    defined = ~np.isnan(mass[:, 0, 0])
    found, slices = [], []
    for label, name in enumerate(classes):
        mine = looked.labels == label
        at = np.flatnonzero(mine & defined)
        points = np.sqrt(_points(mass[at]))
        cut = cluster(points, rng)
        found.append(
            ClassSlices(
                label=label,
                class_name=name,
                n=len(at),
                undefined=int(mine.sum()) - len(at),
                slices=cut.clusters,
                silhouette=cut.silhouette,
                reference=cut.reference,
                agreement=_agreement(cut.assigned, looked.groups[at], rng)
                if looked.groups is not None
                else None,
            )
        )
        for index in range(cut.clusters):
            inside = _Inside(label, name, index, at[cut.assigned == index], len(at))
            slices.append(_slice(inside, looked, mass, points[cut.assigned == index], predictions))
    return InferredSlices(True, RULE, tuple(found), tuple(slices))


class _Inside(NamedTuple):
    """The samples `at` (positions) of one slice, and how many its class has."""

    label: int
    name: str
    number: int
    at: Labels
    of: int


def _slice(
    inside: _Inside, looked: Looked, mass: Floats, points: Floats, predictions: Mapping[str, Labels]
) -> InferredSlice:
    rows, n = looked.rows[inside.at], len(inside.at)
    accuracies = []
    for model, said in predictions.items():
        correct = int((said[inside.at] == inside.label).sum())
        accuracies.append(ModelAccuracy(model, n, correct, correct / n, *wilson(correct, n)))
    return InferredSlice(
        label=inside.label,
        class_name=inside.name,
        index=inside.number,
        n=n,
        share=n / inside.of,
        examples=_examples(points, rows),
        mean_map=mass[inside.at].mean(0).tolist(),
        accuracies=tuple(accuracies),
    )


def _examples(points: Floats, rows: Labels) -> tuple[int, ...]:
    """The sample nearest to the mean, then those nearest to it; ties by row."""
    medoid = np.lexsort((rows, ((points - points.mean(0)) ** 2).sum(1)))[0]
    nearest = np.lexsort((rows, ((points - points[medoid]) ** 2).sum(1)))[:_EXAMPLES]
    others = nearest[nearest != medoid]
    return (int(rows[medoid]), *rows[others].tolist())[:_EXAMPLES]


def _points(mass: Floats) -> Floats:
    """(N, h, w) → (N, d), at most `_MAP_SIDE` places a side, by sums of neighbours."""
    for axis in (1, 2):
        side = mass.shape[axis]
        if side > _MAP_SIDE:
            mass = np.add.reduceat(mass, np.arange(_MAP_SIDE) * side // _MAP_SIDE, axis=axis)
    return mass.reshape(len(mass), mass.shape[1] * mass.shape[2])


def _agreement(slices: Labels, groups: Labels, rng: np.random.Generator) -> Agreement | None:
    known = groups >= 0
    slices, groups = slices[known], groups[known]
    if len(np.unique(groups)) < 2:
        return None
    drawn = [
        _score(groups[pick], slices[pick]) for pick in rng.integers(0, len(groups), (_RESAMPLES, len(groups)))
    ]
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    reading: Reading = "follows" if low > _FOLLOWS else "misses" if high < _MISSES else "partly"
    return Agreement(len(groups), _score(groups, slices), low, high, reading)


def _score(groups: Labels, slices: Labels) -> float:
    """Adjusted mutual information; 0 of a single group and a single slice, which scikit-learn calls 1."""
    from sklearn.metrics import adjusted_mutual_info_score

    if (groups == groups[0]).all() and (slices == slices[0]).all():
        return 0.0
    return float(adjusted_mutual_info_score(groups, slices))
