"""How many distinct images labelled groups have in training. This module does not import torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data.store import Store

LEAST_IN_GROUP = 5
"""One for each fold by which the penalty of a head is chosen, by default."""


def distinct_sizes(
    labels: NDArray[np.int64], groups: NDArray[np.int64], clusters: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The number of distinct samples of each class × group that occurs, (G,).
    Samples with equal `clusters` (N,), of one subject or copies of one image, count once."""
    distinct = np.unique(np.stack([labels, groups, clusters], 1), axis=0)  # (D, 3)
    return np.unique(distinct[:, :2], axis=0, return_counts=True)[1]


def groups_divide(store: Store) -> bool:
    """Whether the data set's own groups divide a class of the training split, every sample of which has one,
    and each class × group is large enough to balance over."""
    rows = store.rows("train")
    labels, groups = store.labels[rows], store.groups[rows]
    sizes = distinct_sizes(labels, groups, store.clusters(rows))
    return bool(groups.min() >= 0 and len(sizes) > len(np.unique(labels)) and sizes.min() >= LEAST_IN_GROUP)
