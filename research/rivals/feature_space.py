"""Methods that correct a head by where in feature space its errors lie, on raw features as published."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.mitigation.features import Head
from models.mitigation.logistic import balanced_weights
from models.probabilities import of_label
from models.training.optim import AdamW
from research.rivals.protocol import Fit, Training, reweight

_LEIA_RANK, _LEIA_SHARPNESS, _LEIA_STEPS, _LEIA_RATE, _LEIA_LONGEST = 1, 10.0, 1000, 0.01, 1.0
_NSF_STEPS, _NSF_RATE, _NSF_SHRINKAGE = 10, 1e-3, 10.0
_FEWEST = 2  # outliers of a class that have a prototype


def leia(training: Training) -> Fit:
    """LEIA (Gourabathina et al. 2026): logits corrected in the directions in which errors vary most.

    A sample weighs exp(γ (1 − p)), p of its label, classes equal; the first k principal directions of the
    weighted features span the subspace, in which a k × K correction descends on the weighted loss. γ, k,
    steps, rate and clipping are those of the released code's command for Waterbirds. It reads no groups but
    to report; the paper's choice without any knowledge of them was not read, so nothing is chosen here.
    Published: directions from 80 % of the training set, the correction from the rest, on ERM's head. Here:
    held-out p, so that all samples serve both, on the control's head.
    """
    probability = np.exp(of_label(training.held_out, training.labels))
    weights = np.exp(_LEIA_SHARPNESS * (1 - probability))
    weights *= balanced_weights(training.labels, training.labels)
    weights /= weights.sum()
    values, head = torch.from_numpy(training.last.values), training.control.head
    directions = principal_directions(values, torch.from_numpy(weights).float(), _LEIA_RANK)
    base, coordinates = torch.from_numpy(head.logits(training.last.values)), values @ directions
    correction = torch.zeros(_LEIA_RANK, base.shape[1], requires_grad=True)
    shares, targets = torch.from_numpy(weights).float(), torch.from_numpy(training.labels)
    for _ in range(_LEIA_STEPS):
        losses = F.cross_entropy(base + coordinates @ correction, targets, reduction="none")
        (gradient,) = torch.autograd.grad((shares * losses).sum(), correction)
        with torch.no_grad():
            length = max(float(gradient.norm()), 1e-12)
            correction -= _LEIA_RATE * gradient * min(1.0, _LEIA_LONGEST / length)
    corrected = head.weight + (directions @ correction.detach()).T.numpy()
    return Fit(Head(corrected, head.bias))


def principal_directions(values: Tensor, weights: Tensor, count: int) -> Tensor:
    """Unit vectors (D, count) in which `values` (N, D) vary most under `weights` (N,), which sum to 1."""
    centred = values - weights @ values
    covariance = centred.T @ (weights[:, None] * centred)
    vectors: Tensor = torch.linalg.eigh(covariance).eigenvectors  # in ascending order
    return vectors[:, -count:].flip(1)


def nsf(training: Training) -> Fit:
    """NSF (Li et al. 2025): each feature is scaled so that classes gather at centres without the shortcut.

    Outliers are nearer to the mean of another class than to that of their own; a class's neutral centre lies
    halfway between the means of its outliers and its others. Outliers that the scaling brings nearest to
    their own centre weigh, together, as much as all that are no outliers. Steps and rate are those of the
    released code for Waterbirds, which does not say how they were chosen. It takes no groups. Published: on
    the features of the validation split, which Waterbirds has balanced over the places in each class, with a
    new head on the scaled features. Here: on those of the training set, with the penalised head, which
    standardises its features, so that the scaling only tells which outliers weigh.
    """
    values, labels = torch.from_numpy(training.last.values), torch.from_numpy(training.labels)
    classes = len(training.classes)
    outliers = nearest(values, class_means(values, labels, classes)) != labels
    centres = neutral_centres(values, labels, outliers, classes)
    rescued = outliers & (nearest(_scaled(values, centres[labels]), centres) == labels)
    if not rescued.any():
        return Fit(training.control.head)
    weights = rescued / rescued.sum() + ~outliers / (~outliers).sum()
    return Fit(reweight(training, weights.double().numpy()), rescued.numpy())


def class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(K, D); zero for a class without a sample."""
    members = F.one_hot(labels, classes).float()
    return torch.einsum("nk,nd->kd", members, values) / members.sum(0).clamp_min(1)[:, None]


def nearest(values: Tensor, centres: Tensor) -> Tensor:
    """The class (N,) whose centre is nearest."""
    return torch.cdist(values, centres).argmin(1)


def neutral_centres(values: Tensor, labels: Tensor, outliers: Tensor, classes: int) -> Tensor:
    """(K, D); the mean of the others alone where a class has fewer than two of the `outliers` (N,)."""
    inner, outer = (class_means(values[part], labels[part], classes) for part in (~outliers, outliers))
    enough = torch.bincount(labels[outliers], minlength=classes) >= _FEWEST
    return torch.where(enough[:, None], (inner + outer) / 2, inner)


def _scaled(values: Tensor, targets: Tensor) -> Tensor:
    """(values + b) · w − b, whose w and b (D,) bring samples nearer to `targets` (N, D), and w to zero."""
    scale, shift = torch.ones(values.shape[1]).requires_grad_(), torch.zeros(values.shape[1]).requires_grad_()
    optimizer = AdamW([scale, shift], lr=_NSF_RATE, weight_decay=0)
    for _ in range(_NSF_STEPS):
        optimizer.zero_grad()
        distances = F.pairwise_distance((values + shift) * scale - shift, targets)
        torch.autograd.backward(distances.mean() + _NSF_SHRINKAGE * scale.mean())
        optimizer.step()
    return ((values + shift) * scale - shift).detach()
