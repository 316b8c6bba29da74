"""Linear heads fitted to frozen features: many at once, each under weights of its own; held-out answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.heads import Floats, Head, HeadError, Labels

Check = Callable[[], None]
"""Called at every step of a fit: raises where it should end, as `Run.check` does."""

_ITERATIONS = 300
_HISTORY = 20
_TOLERANCE = 1e-6  # of the largest gradient
_CONSTANT = 1e-6  # a feature whose std is below it says nothing
_LOGITS_AT_ONCE = 1 << 25
"""Logits of a step's rows, of all heads together: 128 MiB, and a few times that with their gradients."""
_WEIGHTS_AT_ONCE = 1 << 25
"""Weights of the heads that are fitted together: 128 MiB, and forty times that with L-BFGS's history."""


def never() -> None:
    """The default `check`."""


@dataclass(frozen=True)
class Standardised:
    """Features with mean 0 and std 1 over the training samples, `values` (N, D) float32 on a device.

    A penalty then means the same for every network. Raises HeadError if they are not finite.
    """

    values: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, values: NDArray[np.float32], device: torch.device | None = None) -> Self:
        raw = torch.from_numpy(values).to(device or torch.device("cpu"))
        std, mean = torch.std_mean(raw, 0, correction=0)
        if not bool((std.isfinite() & mean.isfinite()).all()):
            raise HeadError(
                "the features of the training images are not all finite numbers: use another model"
            )
        std = torch.where(std < _CONSTANT, torch.ones_like(std), std)
        return cls((raw - mean) / std, mean, std)

    def head(self, weights: Tensor) -> Head:
        """Of `weights` (D + 1, K): the head that takes raw features."""
        weight = weights[:-1] / self.std[:, None]  # (D, K)
        bias = weights[-1] - self.mean @ weight
        return Head(weight.T.contiguous().cpu().numpy(), bias.cpu().numpy())


def fit_heads(
    values: Tensor,
    labels: Tensor,
    sample_weights: Tensor,
    *,
    penalty: float,
    classes: int,
    check: Check = never,
) -> Tensor:
    """J multinomial logistic heads at once: weights (J, D + 1, K), the last of D + 1 being the bias.

    `values` (N, D), `labels` (N,) int64, `sample_weights` (N, J) ≥ 0, one column a head; a column's
    sum does not matter, and a column of zeros gives weights of zero. Each minimises its weighted mean
    cross-entropy + ½·`penalty`·‖W‖² (no penalty on the bias), by L-BFGS from zero: no randomness, one
    product with `values` a step, of some rows at a time where all logits together would be large, and some
    heads where all weights would.
    """
    together = max(1, _WEIGHTS_AT_ONCE // ((values.shape[1] + 1) * classes))
    parts = sample_weights.split(together, dim=1)  # type: ignore[no-untyped-call]  # torch's own
    return torch.cat(
        [_fit_together(values, labels, p, penalty=penalty, classes=classes, check=check) for p in parts]
    )


def _fit_together(
    values: Tensor, labels: Tensor, sample_weights: Tensor, *, penalty: float, classes: int, check: Check
) -> Tensor:
    """`fit_heads` of as many as share each step of the solver."""
    count, width = values.shape
    heads = sample_weights.shape[1]
    total = sample_weights.sum(0)
    shares = (sample_weights / torch.where(total > 0, total, 1)).to(values.dtype)  # (N, J)
    weights = values.new_zeros(width + 1, heads * classes).requires_grad_()
    targets = labels.view(-1, 1).expand(-1, heads)  # (N, J)
    rows = max(1, _LOGITS_AT_ONCE // (heads * classes))
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        history_size=_HISTORY,
        tolerance_grad=_TOLERANCE,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        check()
        optimizer.zero_grad()
        whole = 0.5 * penalty * weights[:-1].square().sum()
        torch.autograd.backward(whole)
        for first in range(0, count, rows):
            some = slice(first, first + rows)
            logits = (values[some] @ weights[:-1] + weights[-1]).view(-1, heads, classes)
            entropy = F.cross_entropy(logits.permute(0, 2, 1), targets[some], reduction="none")
            loss = (shares[some] * entropy).sum()
            torch.autograd.backward(loss)
            whole = whole.detach() + loss.detach()
        return whole

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return weights.detach().view(width + 1, heads, classes).transpose(0, 1)


def held_out_logits(
    standardised: Standardised,
    labels: Labels,
    sample_weights: NDArray[np.float64],
    *,
    held: NDArray[np.bool_],
    penalty: float,
    classes: int,
    check: Check = never,
) -> NDArray[np.float32]:
    """Mean logits (N, K) of each sample over the heads that did not see it.

    Head j is fitted with column j of `sample_weights` (N, J), zero where `held` (N, J) is true;
    every sample is held by one head or more.
    """
    values = standardised.values
    weights = fit_heads(
        values,
        torch.from_numpy(labels).to(values.device),
        torch.from_numpy(sample_weights * ~held).to(values.device),
        penalty=penalty,
        classes=classes,
        check=check,
    )
    total = np.zeros((len(labels), classes), np.float32)
    for head, mine in zip(weights, held.T, strict=True):
        rows = torch.from_numpy(np.flatnonzero(mine)).to(values.device)
        total[mine] += (values[rows] @ head[:-1] + head[-1]).cpu().numpy()
    return np.asarray(total / held.sum(1, keepdims=True), np.float32)


def folds(strata: Labels, *, count: int, rng: np.random.Generator, pictures: Labels | None = None) -> Labels:
    """(N,) fold numbers below `count`; every stratum is spread evenly, at random.

    Samples with equal `pictures` (N,) are copies and share a fold, since a head that was fitted to one copy
    has seen the others. Then distinct pictures are spread, not samples; one that occurs in several strata is
    dealt with the first of them, and the others are filled up around it.
    """
    first = first_samples(pictures, len(strata))
    last = np.zeros(len(strata), np.int64)  # the last stratum of each picture
    np.maximum.at(last, first, strata)
    assigned = np.full(len(strata), -1)  # per picture, at the index of its first sample
    for stratum in np.unique(strata):
        mine = np.unique(first[strata == stratum])
        dealt = assigned[mine]
        rest = rng.permutation(mine[dealt < 0])
        rest = rest[np.argsort(last[rest], kind="stable")]  # spreads them in that one too
        taken = np.bincount(dealt[dealt >= 0], minlength=count)
        assigned[rest] = _emptiest(taken, len(rest), start=int(rng.integers(count)))
    return assigned[first]


def _emptiest(taken: Labels, number: int, *, start: int) -> Labels:
    """Deal `number` more, each into the fold with the fewest so far; ties go round from `start`."""
    count = len(taken)
    level, fold = np.divmod(np.arange((int(taken.max()) + number // count + 1) * count), count)
    fold = (fold + start) % count
    return np.asarray(fold[level >= taken[fold]][:number])


def first_samples(pictures: Labels | None, count: int) -> Labels:
    """(N,) index of the first sample with the same picture; without `pictures`, no sample is a copy."""
    if pictures is None:
        return np.arange(count)
    _, first, inverse = np.unique(pictures, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)


def log_softmax(logits: NDArray[np.float32]) -> Floats:
    """(N, K) float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def of_label(log_probabilities: Floats, labels: Labels) -> Floats:
    """(N, K) → each sample's own label, (N,)."""
    return np.asarray(log_probabilities[np.arange(len(labels)), labels])


def balanced_weights(labels: Labels, groups: Labels, seen: NDArray[np.bool_] | None = None) -> Floats:
    """(N,) weights under which classes weigh alike, and inside each its groups; zero outside `seen`."""
    return np.asarray(group_weights(labels, np.eye(int(groups.max()) + 1)[groups], seen).sum(1))


def group_weights(labels: Labels, members: Floats, seen: NDArray[np.bool_] | None = None) -> Floats:
    """What each sample weighs in each group, (N, groups), where `members` (N, groups) of it are in each.

    A class's weights sum to 1, and alike over its groups. Classes come first: one whose groups could
    not be told apart would else weigh less than the others. Zero outside `seen`.
    """
    inside = members if seen is None else members * seen[:, None]
    weights = np.zeros_like(inside)
    for label in np.unique(labels):
        mine = labels == label
        sizes = inside[mine].sum(0)
        present = np.flatnonzero(sizes)
        weights[np.ix_(mine, present)] = inside[mine][:, present] / (len(present) * sizes[present])
    return weights
