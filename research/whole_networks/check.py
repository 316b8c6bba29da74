"""Equalities that the objectives must satisfy, on toy data: `research.check` runs them."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from models.training.optim import SGD
from research.whole_networks.objectives import (
    balanced_positions,
    conditional_information,
    conflicting,
    descend,
    information,
)


def check_objectives(rng: np.random.Generator) -> None:
    check_descent()
    check_clusters_of_losses(rng)
    check_balance(rng)
    check_information(rng)
    check_penalty(rng)


def check_descent() -> None:
    """Of ½ w' H w the gradient at w + ρ g / ‖g‖ is applied at w; with no radius it is plain descent."""
    curvature = torch.diag(torch.tensor([3.0, 1.0, 0.5]))
    for radius in (0.0, 0.05, 2.0):
        layer = nn.Linear(3, 1, bias=False)
        before = layer.weight.detach()[0].clone()
        gradient = curvature @ before
        expected = before - 0.1 * curvature @ (before + radius * gradient / gradient.norm())
        loss = partial(lambda weights: 0.5 * weights[0] @ curvature @ weights[0], layer.weight)
        descend(layer, SGD(layer.parameters(), lr=0.1), loss, radius)
        assert torch.allclose(layer.weight[0], expected, atol=1e-6)


def check_clusters_of_losses(rng: np.random.Generator) -> None:
    """Named are those whose loss falls late, in each class, also if one class is harder than the other."""
    labels = np.repeat([0, 1], 100)
    late = np.arange(200) % 100 < 6
    epochs = np.arange(1, 9)
    history = np.exp(-epochs / np.where(late, 20, 2)[:, None]) * np.where(labels == 1, 3, 1)[:, None]
    noisy = (history + rng.normal(0, 0.02, history.shape)).astype(np.float32)
    assert np.array_equal(conflicting(noisy, labels, seed=0), late)


def check_balance(rng: np.random.Generator) -> None:
    """Every cell is drawn as often as the largest, and every sample of a cell as often, or once more."""
    cells = np.repeat([0, 1, 3], [50, 7, 20])
    positions = balanced_positions(cells, rng)
    assert np.bincount(cells[positions]).tolist() == [50, 50, 0, 50]
    often = np.bincount(positions, minlength=len(cells))
    assert all(np.ptp(often[cells == cell]) <= 1 for cell in (0, 1, 3))
    assert (often[cells == 0] == 1).all()


def check_information(rng: np.random.Generator) -> None:
    """Of hard predictions it is the mean of scikit-learn's over the classes; of independent ones none."""
    first, second, labels = (rng.integers(3, size=500) for _ in range(3))
    second = np.where(rng.random(500) < 0.6, first, second)
    joint = np.zeros((3, 3, 3))
    np.add.at(joint, (first, second, labels), 1 / 500)
    shares = np.bincount(labels) / 500
    of_class = [mutual_info_score(first[labels == c], second[labels == c]) for c in range(3)]
    assert np.isclose(float(information(torch.from_numpy(joint))), shares @ of_class / np.log(2))
    alone = torch.einsum("ay,by->aby", torch.rand(3, 2), torch.rand(3, 2))
    assert abs(float(information(alone / alone.sum()))) < 1e-5


def check_penalty(rng: np.random.Generator) -> None:
    """Of two classes it is that of the soft counts that are released."""
    labels = torch.from_numpy(rng.integers(2, size=64))
    first, second = (torch.from_numpy(rng.random(64)).float() for _ in range(2))
    steep = [torch.sigmoid(12.5 * (part - 0.5)) for part in (first, second)]
    joint = torch.zeros(2, 2, 2)
    for one, other, label in zip(*steep, labels, strict=True):
        joint[:, :, label] += torch.outer(torch.stack([1 - one, one]), torch.stack([1 - other, other])) / 64
    both = [torch.stack([1 - part, part], 1) for part in (first, second)]
    assert torch.isclose(conditional_information(both[0], both[1], labels), information(joint), atol=1e-5)
