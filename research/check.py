"""Equalities that the methods' formulas must satisfy, on toy data: `python -m research.check`."""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from models.mitigation.groups import Groups
from models.mitigation.logistic import Standardised, balanced_weights, fit_heads
from models.types import Bools, Labels
from research.rivals.cells import conditional, fit_adjusted_heads, mixture_weights
from research.rivals.feature_space import (
    class_means,
    nearest,
    neutral_centres,
    principal_directions,
)
from research.rivals.groups import extrapolated_weights
from research.rivals.layers import clusters_by_silhouette, gram_matrix, readout_weights
from research.rivals.protocol import standard_weights
from research.rivals.views import spectral_clusters
from research.whole_networks.check import check_objectives


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    minority = rng.random(200) < 0.1
    check_extrapolation(labels, minority, rng)
    check_mixture(labels, minority)
    check_adjustment(labels, minority, rng)
    check_standard_weights(rng)
    check_clusters(rng)
    check_directions(rng)
    check_centres()
    check_layers(rng)
    check_objectives(rng)
    print("all equalities hold")
    return 0


def check_extrapolation(labels: Labels, minority: Bools, rng: np.random.Generator) -> None:
    """The weights are those of the extrapolated loss: 0 is ERM, 1 is balanced."""
    groups = Groups("labels", False, 2 * labels + minority, ("a", "a, minority", "b", "b, minority"))
    losses = rng.random(len(labels))
    weigh = [extrapolated_weights(groups, labels, strength) for strength in (0, 0.4, 0.4 * (1 + 1.5), 1)]
    biased, less, extrapolated, _ = (weights @ losses for weights in weigh)
    assert np.isclose(less + 1.5 * (less - biased), extrapolated)
    assert np.allclose(weigh[0], 1)
    balanced = balanced_weights(labels, groups.assigned)
    assert np.allclose(weigh[3] / weigh[3].sum(), balanced / balanced.sum())


def check_mixture(labels: Labels, minority: Bools) -> None:
    """Under the weights each class has the same mix of predictions, and the same weight."""
    predictions = np.where(minority, 1 - labels, labels)
    weights = mixture_weights(predictions, labels, 2)
    mixes = [np.bincount(predictions[labels == label], weights[labels == label]) for label in (0, 1)]
    assert np.allclose(mixes[0], mixes[1])


def check_adjustment(labels: Labels, minority: Bools, rng: np.random.Generator) -> None:
    """What the proxy explains is left to it; an offset that is the same for all moves the bias alone."""
    predictions = np.where(minority, 1 - labels, labels)
    features = torch.from_numpy(np.stack([predictions * 2.0 - 1, rng.normal(size=200)], 1)).float()
    targets, whole = torch.from_numpy(labels), np.ones((200, 1), bool)
    table = conditional(np.log(np.eye(2)[predictions] + 1e-12), labels)
    offsets = torch.from_numpy(np.log(table)[predictions]).float()
    adjusted = fit_adjusted_heads(features, targets, offsets, whole, penalty=1e-3)[0]
    assert float(adjusted[0].abs().max()) < 0.02
    plain = fit_heads(features, targets, torch.ones(200, 1), penalty=1e-3, classes=2)[0]
    assert float(plain[0, 1] - plain[0, 0]) > 1
    constant = torch.tensor([[0.7, -0.7]]).expand(200, 2)
    shifted = fit_adjusted_heads(features, targets, constant, whole, penalty=1e-3)[0]
    assert torch.allclose(shifted[:-1], plain[:-1], atol=1e-2)
    moved = shifted[-1] + constant[0] - plain[-1]
    assert torch.allclose(moved, moved.mean().expand(2), atol=1e-2)


def check_standard_weights(rng: np.random.Generator) -> None:
    standardised = Standardised.of(rng.normal(3, 2, size=(50, 4)).astype(np.float32))
    weights = torch.from_numpy(rng.normal(size=(5, 3))).float()
    assert torch.allclose(standard_weights(standardised, standardised.head(weights)), weights, atol=1e-4)


def check_clusters(rng: np.random.Generator) -> None:
    points = np.concatenate([rng.normal(0, 0.1, (60, 20)), rng.normal(5, 0.1, (60, 20))]).astype(np.float32)
    clusters = spectral_clusters(points, seed=0)
    assert len(np.unique(clusters)) == 2
    assert len(np.unique(clusters[:60])) == len(np.unique(clusters[60:])) == 1


def check_directions(rng: np.random.Generator) -> None:
    """They are principal components of the samples that weigh, and see nothing of the others."""
    values = rng.normal(size=(300, 6)).astype(np.float32) * np.array([9, 1, 1, 1, 1, 1], np.float32)
    values[200:] = rng.normal(size=(100, 6)) * np.array([1, 1, 5, 1, 1, 1]) + 7
    weights = np.where(np.arange(300) < 200, 0, 0.01).astype(np.float32)
    directions = principal_directions(torch.from_numpy(values), torch.from_numpy(weights), 2).numpy()
    axes = np.linalg.svd(values[200:] - values[200:].mean(0))[2][:2].T
    assert np.allclose(np.abs((directions * axes).sum(0)), 1, atol=1e-3)
    assert np.abs(directions[2, 0]) > 0.9


def check_centres() -> None:
    """Outliers are nearer to the other class; a neutral centre lies halfway between them and the others."""
    values = torch.tensor([[0.0, 1], [0, 1], [0, 1], [8, 1], [8, 1], [8, -1], [8, -1], [8, -1], [0, -1]])
    labels = torch.tensor([0] * 5 + [1] * 4)
    outliers = nearest(values, class_means(values, labels, 2)) != labels
    assert outliers.tolist() == [False] * 3 + [True] * 2 + [False] * 3 + [True]
    centres = neutral_centres(values, labels, outliers, 2)
    assert centres[0].tolist() == [4, 1]
    assert centres[1].tolist() == [8, -1]  # a single outlier has no say


def check_layers(rng: np.random.Generator) -> None:
    """Only a mistake weighs more, by its margin; a Gram matrix does not know the places; clusters are named."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5 - 1e-9]])
    weights = readout_weights(np.log(probabilities), np.array([0, 1, 1]), 2.0)
    assert np.allclose(weights, [1, np.exp(2 * 0.8), 1])
    grid = torch.from_numpy(rng.normal(size=(2, 3, 4, 4))).float()
    moved = grid.flatten(2)[:, :, torch.from_numpy(rng.permutation(16))].view_as(grid)
    assert torch.allclose(gram_matrix(grid), gram_matrix(moved), atol=1e-5)
    assert torch.allclose(gram_matrix(grid)[:, 0], grid[:, 0].square().mean((1, 2)), atol=1e-5)
    points = np.concatenate([rng.normal(5 * place, 0.1, (20, 6)) for place in range(3)]).astype(np.float32)
    assert len(np.unique(clusters_by_silhouette(points, 0))) == 3


if __name__ == "__main__":
    sys.exit(main())
