"""Methods on what earlier layers see: readouts that are sure and wrong, and clusters of Gram matrices.

Of both papers only the abstracts were read: what is done here beyond them is said, and is ours.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from torch import Tensor

from models.mitigation.logistic import Standardised
from models.mitigation.stages import as_grid, outputs_of
from models.probabilities import of_label
from models.types import Bools, Floats, Labels
from research.rivals.features import image_batches
from research.rivals.protocol import (
    CONFIG,
    Fit,
    Training,
    cross_fit,
    retrain,
    retrain_over_clusters,
    reweighted_classes,
)

_STRENGTHS = (1.0, 2.0, 3.0, 4.0, 6.0)
_COMPONENTS, _MOST_CLUSTERS = 50, 5


def early_readouts(training: Training) -> Fit:
    """Early Readouts (Tiwari et al. 2024, arXiv 2310.18590): a readout of an earlier layer predicts the class,
    and its confident mistakes weigh more.

    A sample that the readout gets wrong weighs exp(β · margin), the margin between its two likeliest classes;
    all others weigh 1. Published: a readout trained along, and the weights in a distillation loss. Here:
    held-out predictions from the deepest early stage, whose penalty has the lowest held-out loss, and the
    weights in the fit of the head. No group is read: β has the best held-out mean accuracy over the cells of
    class and whether the readout is wrong.
    """
    stage = Standardised.principal(training.features.early[-1].astype(np.float32))
    readouts = [cross_fit(training, penalty=penalty, standardised=stage) for penalty in CONFIG.penalties]
    readout = max(readouts, key=lambda one: float(of_label(one, training.labels).mean()))
    wrong = np.asarray(readout.argmax(1) != training.labels)
    fits = []
    for strength in _STRENGTHS:
        weights = readout_weights(readout, training.labels, strength)
        fitted = retrain(training, reweighted_classes(training.labels, training.classes, weights))
        held_out = cross_fit(training, penalty=fitted.penalty, weights=weights)
        fits.append((_cell_accuracy(held_out, training.labels, wrong), fitted.head))
    return Fit(max(fits, key=lambda one: one[0])[1], wrong)


def readout_weights(log_probabilities: Floats, labels: Labels, strength: float) -> Floats:
    """Weights (N,): 1 where the likeliest class is the label, else exp(`strength` · margin)."""
    top = np.sort(np.exp(log_probabilities), axis=1)
    wrong = log_probabilities.argmax(1) != labels
    return np.where(wrong, np.exp(strength * (top[:, -1] - top[:, -2])), 1.0)


def _cell_accuracy(log_probabilities: Floats, labels: Labels, wrong: Bools) -> float:
    right, cells = log_probabilities.argmax(1) == labels, 2 * labels + wrong
    sizes = np.bincount(cells)
    return float((np.bincount(cells, right)[sizes > 0] / sizes[sizes > 0]).mean())


def gram_clusters(training: Training) -> Fit:
    """GramClust (Roburin et al. 2022, arXiv 2208.12625): groups from clusters of Gram matrices in each class.

    Published: a robust optimisation over the groups. Here: the Gram matrices of the deepest early stage of the
    frozen network, their first 50 principal components within the class, k-means, as many clusters as have the
    best silhouette, at most five, and the head balanced over them. No group is read.
    """
    return Fit(retrain_over_clusters(training, _gram_matrices(training), clusters_by_silhouette))


def clusters_by_silhouette(points: NDArray[np.float32], seed: int) -> Labels:
    """The cluster (N,) of each of `points` (N, D)."""
    components = PCA(min(_COMPONENTS, *points.shape), random_state=seed).fit_transform(points)
    clusterings = (
        KMeans(k, n_init=10, random_state=seed).fit_predict(components) for k in range(2, _MOST_CLUSTERS + 1)
    )
    return np.asarray(max(clusterings, key=lambda one: silhouette_score(components, one)), np.int64)


def _gram_matrices(training: Training) -> NDArray[np.float32]:
    """Upper triangles (N, C (C + 1) / 2) of the channels' mean products over the positions."""
    network, stage = training.network, training.features.stages[-1].name
    with outputs_of(network, [stage], gram_matrix) as outputs, torch.inference_mode():
        for batch in image_batches(training.images):
            network.features(batch)
    return torch.cat([triangle for _, triangle in outputs.take()]).numpy()


def gram_matrix(output: object) -> Tensor:
    grid = as_grid(output)
    assert grid is not None
    positions = grid.flatten(2).float()  # (B, C, P)
    products = positions @ positions.transpose(1, 2) / positions.shape[2]
    rows, columns = torch.triu_indices(*products.shape[1:])
    return products[:, rows, columns]
