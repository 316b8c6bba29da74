"""k-means, and a test of whether the data have clusters at all. Seeded; does not import torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.types import Floats, Labels

MAX_CLUSTERS = 5
MIN_SILHOUETTE = 0.25  # below it "no substantial structure" (Kaufman and Rousseeuw 1990)
MIN_SIZE = 5  # samples
REFERENCES = 19  # under the null, the data's silhouette is the largest of 20 in 5 % of cases
_SAMPLE = 500  # points used to choose a division: silhouettes cost quadratic time
_STARTS, _ROUNDS = 3, 30


class Clustering(NamedTuple):
    """Cluster numbers `assigned` (N,) below `clusters`, counted from the largest cluster.

    `silhouette` is that of the best division, even if it was rejected; `reference` is the largest among the
    Gaussian samples. Each is None if it was not computed.
    """

    assigned: Labels
    clusters: int
    silhouette: float | None
    reference: float | None


class _Cut(NamedTuple):
    silhouette: float
    centres: Floats


def cluster(points: Floats, rng: np.random.Generator) -> Clustering:
    """Divide points (N, d) by the rule of `models.shortcuts.slices`, into one if they show no structure.

    The null hypothesis is a single Gaussian (SigClust; Liu et al. 2008), because points that merely lie
    along a line have a good silhouette too.
    """
    whole = np.zeros(len(points), np.int64)
    count = min(1, len(points))
    if len(points) < 2 * MIN_SIZE:
        return Clustering(whole, count, None, None)
    sample = points if len(points) <= _SAMPLE else points[rng.choice(len(points), _SAMPLE, replace=False)]
    best = _best_cut(sample, rng)
    if best is None or best.silhouette < MIN_SILHOUETTE:
        return Clustering(whole, count, best.silhouette if best else None, None)
    cuts = [_best_cut(_gaussian(sample, rng), rng) for _ in range(REFERENCES)]
    reference = max((cut.silhouette for cut in cuts if cut), default=0.0)
    if best.silhouette <= reference:
        return Clustering(whole, count, best.silhouette, reference)
    assigned = _nearest(points, best.centres)
    order = np.argsort(-np.bincount(assigned, minlength=len(best.centres)), kind="stable")
    return Clustering(np.argsort(order)[assigned], len(order), best.silhouette, reference)


def _best_cut(points: Floats, rng: np.random.Generator) -> _Cut | None:
    """The division with the best silhouette; None if each one leaves a cluster smaller than `MIN_SIZE`."""
    from sklearn.metrics import silhouette_score  # takes a second to import

    distances = np.sqrt(_squares(points, points))
    np.fill_diagonal(distances, 0)
    best = None
    for count in range(2, MAX_CLUSTERS + 1):
        centres = k_means(points, count, rng)
        assigned = _nearest(points, centres)
        if np.bincount(assigned, minlength=count).min() < MIN_SIZE:
            continue
        width = float(silhouette_score(distances, assigned, metric="precomputed"))
        if best is None or width > best.silhouette:
            best = _Cut(width, centres)
    return best


def _gaussian(points: Floats, rng: np.random.Generator) -> Floats:
    """Draw as many points from a Gaussian with the same mean and covariance."""
    centred = points - points.mean(0)
    weights = rng.standard_normal((len(points), len(points))) / len(points) ** 0.5
    return np.asarray(points.mean(0) + weights @ centred)


def k_means(points: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Centres (count, d) from the best of a few runs of Lloyd's algorithm with k-means++ seeding."""
    tries = []
    for _ in range(_STARTS):
        centres = _spread(points, count, rng)
        for _ in range(_ROUNDS):
            assigned = _nearest(points, centres)
            members = (assigned == np.arange(count)[:, None]).astype(np.float64)  # (count, N)
            sizes = members.sum(1)
            moved = np.where(sizes[:, None] > 0, members @ points / np.maximum(sizes, 1)[:, None], centres)
            if np.array_equal(moved, centres):
                break
            centres = moved
        tries.append((float(_squares(points, centres).min(1).sum()), centres))
    return min(tries, key=lambda attempt: attempt[0])[1]


def _spread(points: Floats, count: int, rng: np.random.Generator) -> Floats:
    """k-means++ seeding (Arthur and Vassilvitskii 2007)."""
    centres = [points[rng.integers(len(points))]]
    while len(centres) < count:
        squares = _squares(points, np.array(centres)).min(1)
        total = squares.sum()
        chances = squares / total if total > 0 else None
        centres.append(points[rng.choice(len(points), p=chances)])
    return np.array(centres)


def _nearest(points: Floats, centres: Floats) -> Labels:
    """Index (N,) of the nearest centre, without |point|², which is the same for every centre."""
    return np.asarray(((centres**2).sum(1) - 2 * points @ centres.T).argmin(1), np.int64)


def _squares(a: Floats, b: Floats) -> Floats:
    """Squared distances (N, M)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0))
