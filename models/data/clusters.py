"""Which samples are not independent of each other. This module does not import torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def connected_samples(pictures: NDArray[np.int64], subjects: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,), equal for samples with a picture or a subject (−1: none) in common, directly or by a chain."""
    from scipy.sparse import coo_matrix  # only when needed, as is its import's time
    from scipy.sparse.csgraph import connected_components

    with_subject = np.flatnonzero(subjects >= 0)
    n, first = len(pictures), int(pictures.max(initial=-1)) + 1
    links = np.concatenate([np.arange(n), with_subject])
    nodes = n + np.concatenate([pictures, first + subjects[with_subject]])
    size = n + first + int(subjects.max(initial=-1)) + 1
    graph = coo_matrix((np.ones(len(links), np.int8), (links, nodes)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:n], np.int64)


def one_of_each(clusters: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(N,), true for one member of each cluster, all members of a cluster being equally likely."""
    order = rng.permutation(len(clusters))
    is_drawn = np.zeros(len(clusters), dtype=bool)
    is_drawn[order[np.unique(clusters[order], return_index=True)[1]]] = True
    return is_drawn
