"""What the methods change of a training: the step, the loss, and how often a sample is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.optim import Optimizer

from models.types import Bools, Labels

_STEEPNESS = 12.5
_TINY = 1e-12


def descend(network: nn.Module, optimizer: Optimizer, loss: Callable[[], Tensor], radius: float) -> None:
    """A step on a batch, whose loss `loss` computes anew; with a `radius` ρ, one of SAM (Foret et al. 2021).

    The gradient at w + ρ g / ‖g‖, g that at w, is applied at w; ρ over all parameters together.
    """
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss())
    moved = [(p, p.detach().clone(), p.grad) for p in network.parameters() if radius and p.grad is not None]
    if moved:
        length = torch.stack([gradient.norm() for _, _, gradient in moved]).norm().clamp_min(_TINY)
        with torch.no_grad():
            for parameter, _, gradient in moved:
                parameter.add_(radius / length * gradient)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss())
        with torch.no_grad():
            for parameter, before, _ in moved:
                parameter.copy_(before)
    optimizer.step()


def conflicting(history: NDArray[np.float32], labels: Labels, *, seed: int) -> Bools:
    """Which samples (N,) TAB takes for those without the shortcut, by their losses (N, epochs).

    In each class two clusters by k-means; that of the higher mean loss.
    """
    named = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        clusters = KMeans(2, n_init=10, random_state=seed).fit_predict(history[mine])
        named[mine] = clusters == np.argmax([history[mine[clusters == part]].mean() for part in (0, 1)])
    return named


def balanced_positions(cells: Labels, rng: np.random.Generator) -> Labels:
    """Positions (M,) into `cells` (N,) with each cell as often as the largest: every sample of it equally
    often, but for a remainder drawn at random."""
    most, parts = int(np.bincount(cells).max()), []
    for cell in np.unique(cells):
        mine = np.flatnonzero(cells == cell)
        whole, rest = divmod(most, len(mine))
        parts += [np.repeat(mine, whole), rng.permutation(mine)[:rest]]
    return np.sort(np.concatenate(parts))


def conditional_information(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """CMID's penalty: I(first; second | label) in bits, of a batch's probabilities (B, K) and labels (B,).

    They are sharpened, σ(12.5 (p − ½)), as released, which sums to 1 for two classes; here for more, too.
    """
    steep = [torch.sigmoid(_STEEPNESS * (part - 0.5)) for part in (first, second)]
    mine, other = (part / part.sum(1, keepdim=True) for part in steep)
    of_class = F.one_hot(labels, first.shape[1]).to(first.dtype)
    return information(torch.einsum("bj,bk,by->jky", mine, other, of_class) / len(labels)).abs()


def information(joint: Tensor) -> Tensor:
    """I(A; B | C) in bits from p(a, b, c) (A, B, C)."""
    alone = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    ratio = joint * joint.sum((0, 1), keepdim=True) / alone.clamp_min(_TINY)
    return (joint * ratio.clamp_min(_TINY).log2()).sum()
