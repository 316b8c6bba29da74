"""Methods that look at where the network looks. They need maps of more than 2 × 2 positions."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.csgraph import laplacian
from sklearn.cluster import KMeans
from sklearn.neighbors import kneighbors_graph

from models.mitigation.features import Features
from models.probabilities import of_label
from models.mitigation.retrain import retrain_head
from models.types import Labels
from research.rivals.features import last_features
from research.rivals.protocol import CONFIG, Fit, Training, retrain_over_clusters, reweighted_classes

_DAC_WEIGHT, _DAC_SHARE = 10.0, 0.6
_DAC_QUANTILES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_DAC_SAMPLE = 128  # images on which the quantile is chosen
_MOST_CLUSTERS = 10
Maps = NDArray[np.float32]


def dac(training: Training) -> Fit:
    """Decompose and Compose (Noohdani et al. 2024): what is attended, alone and on other backgrounds.

    The images with the lowest loss, 60 %, are added twice, with ten times the weight: with the attended part
    alone, and with that part pasted over the unattended part of an image of another class. Share and weight
    are those of the released code for Waterbirds, chosen on validation groups, as is which part of the map
    shows the object. Published: new pairs in each of 20 epochs, the quantile of the map by the elbow of the
    loss over all images. Here: one view of each kind and the penalised head; the elbow over 128 images.
    """
    labels, rng = training.labels, training.rng(30)
    maps = attention(training)
    sample = rng.permutation(len(labels))[:_DAC_SAMPLE]
    attended = maps >= np.quantile(maps, _elbow(training, maps, sample), axis=(1, 2), keepdims=True)
    losses = -of_label(training.held_out, labels)
    rows = np.flatnonzero(losses <= np.quantile(losses, _DAC_SHARE))
    partners = _of_another_class(labels, rows, rng)
    mean = training.images.mean((0, 1, 2))
    images, mask = training.images[rows], attended[rows][..., None]
    alone = np.where(mask, images, mean)
    others = np.where(attended[partners][..., None], mean, training.images[partners])
    fused = np.where(mask, images, others)
    parts = [training.last.values]
    parts += [last_features(training.network, view.astype(np.uint8)) for view in (alone, fused)]
    return _fit_views(training, parts, np.concatenate([np.arange(len(labels)), rows, rows]))


def _fit_views(training: Training, parts: list[NDArray[np.float32]], pictures: Labels) -> Fit:
    """The head over the images and their views, which are held out together."""
    labels, values = training.labels[pictures], np.concatenate(parts)
    count, views = len(training.labels), len(parts[1])
    weights = np.repeat([1 / count, *[_DAC_WEIGHT / views] * (len(parts) - 1)], [len(part) for part in parts])
    features = Features(pictures, labels, values, np.zeros((len(labels), len(training.classes)), np.float32))
    groups = reweighted_classes(labels, training.classes, weights)
    fitted = retrain_head(
        training.network,
        features,
        groups,
        CONFIG,
        seed=training.seed,
        clusters=pictures,
    )
    return Fit(fitted.head)


def _elbow(training: Training, maps: Maps, sample: Labels) -> float:
    """The quantile beyond which the loss of what is kept rises steeply: farthest below the chord."""
    losses = []
    for quantile in _DAC_QUANTILES:
        mask = maps[sample] >= np.quantile(maps[sample], quantile, axis=(1, 2), keepdims=True)
        values = last_features(training.network, training.images[sample] * mask[..., None].astype(np.uint8))
        logits = torch.from_numpy(training.control.head.logits(values))
        losses.append(float(F.cross_entropy(logits, torch.from_numpy(training.labels[sample]))))
    rise = np.array(losses) - losses[0]
    if rise[-1] <= 0:
        return _DAC_QUANTILES[-1]
    chord = np.linspace(0, 1, len(losses))
    return _DAC_QUANTILES[int((chord - rise / rise[-1]).argmax())]


def _of_another_class(labels: Labels, rows: Labels, rng: np.random.Generator) -> Labels:
    partners = np.zeros(len(rows), np.int64)
    for label in np.unique(labels[rows]):
        mine, others = labels[rows] == label, rows[labels[rows] != label]
        partners[mine] = rng.choice(others, int(mine.sum()))
    return partners


def attention(training: Training) -> Maps:
    """(N, S, S) of the class that the head predicts: for pooling and a linear head, GradCAM is this sum."""
    weights = training.control.head.weight[training.control.head.logits(training.last.values).argmax(1)]
    maps = np.einsum("nc,nchw->nhw", weights, training.activations, dtype=np.float32, optimize=True)
    large = torch.from_numpy(np.maximum(maps, 0))[:, None]
    size = training.images.shape[1:3]
    return np.asarray(F.interpolate(large, size=size, mode="bilinear", align_corners=False)[:, 0].numpy())


def exmap(training: Training) -> Fit:
    """ExMap (Chakraborty et al. 2024): groups from clusters of maps within each class.

    Spectral clustering of a graph of ln n nearest neighbours, as many clusters as its eigengap says, at most
    ten. Published: layer-wise relevance maps of the validation split, the head refitted there, its penalty by
    the worst cluster. Here: class activation maps of the training samples, at 4 × 4 positions.
    """
    maps = attention(training)
    small = F.adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], training.activations.shape[2:]).flatten(1)
    scaled = (small / small.amax(1, keepdim=True).clamp_min(1e-12)).numpy()
    return Fit(retrain_over_clusters(training, scaled, spectral_clusters))


def spectral_clusters(points: NDArray[np.float32], seed: int) -> Labels:
    graph = kneighbors_graph(points, max(2, math.ceil(math.log(len(points)))))
    normalised = laplacian((graph + graph.T) / 2, normed=True).toarray()
    eigenvalues, vectors = eigh(normalised, subset_by_index=[0, min(_MOST_CLUSTERS, len(points) - 1)])
    count = int(np.diff(eigenvalues).argmax()) + 1
    return np.asarray(KMeans(count, n_init=10, random_state=seed).fit_predict(vectors[:, :count]), np.int64)
