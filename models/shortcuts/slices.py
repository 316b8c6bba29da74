"""Slices inferred from where a model looks: clusters of saliency maps within each class.

A slice is a guess, not a labelled group. Where true groups are known, the agreement says whether the slices
match them. A saliency map depends on the model's prediction, so a slice may consist of the model's mistakes
alone: the accuracy on a slice is no evidence against the model. Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np

from models.design_effect import count_clusters
from models.shortcuts.clustering import MAX_CLUSTERS, MIN_SILHOUETTE, MIN_SIZE, REFERENCES, cluster
from models.shortcuts.saliency_summary import shares
from models.statistics import clustered_wilson
from models.types import Bools, Floats, Labels, Maps

RULE = (
    f"The maps of a class are divided into 2 to {MAX_CLUSTERS} slices of at least {MIN_SIZE} images, in the "
    f"number with the best silhouette, if that is at least {MIN_SILHOUETTE} and above that of {REFERENCES} "
    "samples of one Gaussian with the same mean and covariance, divided in the same way; otherwise they are "
    "one slice."
)
Degree = Literal["high", "partial", "low"]

_EXAMPLES = 8
_MAP_SIDE = 8  # larger maps are sum-pooled to this size before clustering
_RESAMPLES = 200
_HIGH, _LOW = 0.5, 0.1


@dataclass(frozen=True)
class ModelAccuracy:
    """Accuracy of one model on a slice or group: `correct` of `n`, with a Wilson interval, which takes the
    `n_subjects` as independent where there are any."""

    model: str
    n: int
    correct: int
    accuracy: float
    low: float
    high: float
    n_subjects: int | None = None

    @classmethod
    def of(cls, model: str, correct: Bools, clusters: Labels | None, *, confidence: float = 0.95) -> Self:
        """Of `correct` (n,) answers; equal `clusters` (n,) are not independent, None: all are."""
        n, right = len(correct), int(correct.sum())
        low, high = clustered_wilson(correct, clusters, confidence=confidence)
        return cls(model, n, right, right / max(n, 1), low, high, count_clusters(clusters))


@dataclass(frozen=True)
class InferredSlice:
    """`n` samples of one class with similar saliency maps; `share` is of the class's samples with a map.

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
    """Adjusted mutual information between slices and true groups: 0 at chance, 1 if they coincide.

    The interval is the 95 % percentile bootstrap over the `n` samples, or over their clusters. `degree` is
    `high` if the interval lies above 0.5, `low` if it lies below 0.1, else `partial`.
    """

    n: int
    adjusted_mutual_information: float
    low: float
    high: float
    degree: Degree


@dataclass(frozen=True)
class ClassSlices:
    """How one class was divided, with the best `silhouette` and the Gaussian samples' largest, `reference`.

    `silhouette` is None with too few samples or only too small clusters; `reference` also with too low a
    silhouette. `undefined` samples have a map that is zero or not finite. `agreement` is None without two
    known groups in the class.
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
    """All classes, and their slices by class and size. `inferred` is always true: no labels were used."""

    inferred: Literal[True]
    rule: str
    classes: tuple[ClassSlices, ...]
    slices: tuple[InferredSlice, ...]


class SliceInputs(NamedTuple):
    """N samples with one model's saliency maps, `maps` (N, h, w); `groups` (N,) are −1 where unknown. Equal
    `clusters` (N,) are not independent; None: all are."""

    rows: Labels
    labels: Labels
    maps: Maps
    groups: Labels | None = None
    clusters: Labels | None = None

    def clusters_at(self, at: Labels) -> Labels | None:
        return None if self.clusters is None else self.clusters[at]


def infer_slices(
    inputs: SliceInputs,
    *,
    classes: Sequence[str],
    predictions: Mapping[str, Labels],
    rng: np.random.Generator,
) -> InferredSlices:
    """Divide each class by `RULE`; score the `predictions` (N,) of any number of models on each slice.

    Maps are compared by Hellinger distance (as the square roots of their shares), so that a single peak
    does not dominate the rest. Takes about half a second per class.
    """
    mass = shares(inputs.maps)
    defined = ~np.isnan(mass[:, 0, 0])
    divided, slices = [], []
    for label, name in enumerate(classes):
        mine = inputs.labels == label
        at = np.flatnonzero(mine & defined)
        points = np.sqrt(_points(mass[at]))
        cut = cluster(points, rng)
        divided.append(
            ClassSlices(
                label=label,
                class_name=name,
                n=len(at),
                undefined=int(mine.sum()) - len(at),
                slices=cut.clusters,
                silhouette=cut.silhouette,
                reference=cut.reference,
                agreement=_agreement(cut.assigned, inputs.groups[at], inputs.clusters_at(at), rng)
                if inputs.groups is not None
                else None,
            )
        )
        for index in range(cut.clusters):
            inside = _SliceRows(label, name, index, at[cut.assigned == index], len(at))
            slices.append(_slice(inside, inputs, mass, points[cut.assigned == index], predictions))
    return InferredSlices(True, RULE, tuple(divided), tuple(slices))


class _SliceRows(NamedTuple):
    """One slice's samples, as positions `at`, and the number `of` samples with a map in its class."""

    label: int
    name: str
    number: int
    at: Labels
    of: int


def _slice(
    inside: _SliceRows, inputs: SliceInputs, mass: Floats, points: Floats, predictions: Mapping[str, Labels]
) -> InferredSlice:
    rows, n, clusters = inputs.rows[inside.at], len(inside.at), inputs.clusters_at(inside.at)
    return InferredSlice(
        label=inside.label,
        class_name=inside.name,
        index=inside.number,
        n=n,
        share=n / inside.of,
        examples=_examples(points, rows),
        mean_map=mass[inside.at].mean(0).tolist(),
        accuracies=tuple(
            ModelAccuracy.of(model, np.asarray(predicted[inside.at] == inside.label), clusters)
            for model, predicted in predictions.items()
        ),
    )


def _examples(points: Floats, rows: Labels) -> tuple[int, ...]:
    """Rows of the medoid (nearest to the mean), then of the samples nearest to it; ties are broken by row."""
    medoid = np.lexsort((rows, ((points - points.mean(0)) ** 2).sum(1)))[0]
    nearest = np.lexsort((rows, ((points - points[medoid]) ** 2).sum(1)))[:_EXAMPLES]
    others = nearest[nearest != medoid]
    return (int(rows[medoid]), *rows[others].tolist())[:_EXAMPLES]


def _points(mass: Floats) -> Floats:
    """Sum-pool (N, h, w) to at most `_MAP_SIDE` cells per side, and flatten to (N, d)."""
    for axis in (1, 2):
        side = mass.shape[axis]
        if side > _MAP_SIDE:
            mass = np.add.reduceat(mass, np.arange(_MAP_SIDE) * side // _MAP_SIDE, axis=axis)
    return mass.reshape(len(mass), mass.shape[1] * mass.shape[2])


def _agreement(
    slices: Labels, groups: Labels, clusters: Labels | None, rng: np.random.Generator
) -> Agreement | None:
    known = groups >= 0
    slices, groups = slices[known], groups[known]
    if len(np.unique(groups)) < 2:
        return None
    clusters = np.arange(len(groups)) if clusters is None else clusters[known]
    drawn = [_score(groups[pick], slices[pick]) for pick in _resamples(clusters, rng)]
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    degree: Degree = "high" if low > _HIGH else "low" if high < _LOW else "partial"
    return Agreement(len(groups), _score(groups, slices), low, high, degree)


def _resamples(clusters: Labels, rng: np.random.Generator) -> Iterator[Labels]:
    """Samples of as many clusters, drawn with replacement, as there are."""
    _, cluster, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(cluster, kind="stable"), np.cumsum(sizes)[:-1])
    for pick in rng.integers(0, len(members), (_RESAMPLES, len(members))):
        yield np.concatenate([members[place] for place in pick])


def _score(groups: Labels, slices: Labels) -> float:
    """Adjusted mutual information, but 0 for one group and one slice, where scikit-learn returns 1."""
    from sklearn.metrics import adjusted_mutual_info_score

    if (groups == groups[0]).all() and (slices == slices[0]).all():
        return 0.0
    return float(adjusted_mutual_info_score(groups, slices))
