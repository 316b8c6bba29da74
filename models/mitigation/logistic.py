"""Linear heads fitted to frozen features, many at once with individual sample weights; held-out logits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.mitigation.features import Head, HeadError
from models.run import Run, ThrottledProgress
from models.runtime.eager_optim import eager
from models.types import Floats, Labels

Check = Callable[[], None]
"""Called at every step of a fit; raises an exception to end it, as `Run.check` does."""

_LBFGS = eager(torch.optim.LBFGS)
_ITERATIONS = 300
_HISTORY = 20
_TOLERANCE = 1e-6  # on the largest absolute gradient
_CONSTANT = 1e-6  # a feature with a smaller std counts as constant and is not scaled
_STEPS, _PARTS = 30, 10_000  # of most fits, and of what is reported
_NOT_FINITE = "the features of the training images are not all finite numbers: use another model"
_LOGITS_AT_ONCE = 1 << 25
"""Logits computed at once, over rows and heads: 128 MiB, and a few times that with their gradients."""
_WEIGHTS_AT_ONCE = 1 << 22
"""Weights of the heads fitted together: 16 MiB, and sixty times that with L-BFGS's history. Fitting more at
once takes more memory and no less time."""


def never() -> None:
    """Do nothing; the default `check`."""


def counting_steps(run: Run, fits: int) -> Check:
    """A `check` for so many fits, which reports their steps to `run`.
    Where they take more than most fits do, each counts for less than the one before."""
    progress, steps = ThrottledProgress(run, _PARTS), itertools.count(1)

    def check() -> None:
        run.check()
        share = next(steps) / (_STEPS * fits)
        progress.tick(int(_PARTS * share / (1 + share**4) ** 0.25), 0)

    return check


@dataclass(frozen=True)
class Standardised:
    """Features with mean 0 and std 1 over the training samples, `values` (N, D) float32 on a device.

    Standardising gives a penalty the same meaning for every network. `of` raises HeadError if the features
    are not finite.
    """

    values: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, values: NDArray[np.float32], device: torch.device | None = None) -> Self:
        raw = torch.from_numpy(values).to(device or torch.device("cpu"))
        std, mean = torch.std_mean(raw, 0, correction=0)
        if not bool((std.isfinite() & mean.isfinite()).all()):
            raise HeadError(_NOT_FINITE)
        std = torch.where(std < _CONSTANT, torch.ones_like(std), std)
        return cls((raw - mean).div_(std), mean, std)

    @classmethod
    def principal(cls, coordinates: NDArray[np.float32], device: torch.device | None = None) -> Self:
        """Take principal coordinates of standardised features as they are.

        Scaled to std 1 each, they would give the many small directions as much weight as the few large ones.
        Raises HeadError if they are not finite.
        """
        if not np.isfinite(coordinates).all():
            raise HeadError(_NOT_FINITE)
        values = torch.from_numpy(coordinates).to(device or torch.device("cpu"))
        mean = values.mean(0)
        return cls(values - mean, mean, torch.ones_like(mean))

    def head(self, weights: Tensor) -> Head:
        """Fold the standardisation into `weights` (D + 1, K), for a head that takes raw features."""
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
    """Fit J multinomial logistic heads at once: weights (J, D + 1, K), in which row D is the bias.

    `values` (N, D), `labels` (N,) int64, `sample_weights` (N, J) ≥ 0 with one column per head. The sum of a
    column does not matter; a column of zeros gives weights of zero. Each head minimises its weighted mean
    cross-entropy + ½·`penalty`·‖W‖² (no penalty on the bias) by L-BFGS from zero, without randomness. A step
    is one product with `values`, in chunks of rows if all logits together would be large. Heads are fitted
    in chunks if all their weights together would be large.
    """
    together = max(1, _WEIGHTS_AT_ONCE // ((values.shape[1] + 1) * classes))
    parts = sample_weights.split(together, dim=1)  # type: ignore[no-untyped-call]  # torch's own
    return torch.cat(
        [_fit_together(values, labels, p, penalty=penalty, classes=classes, check=check) for p in parts]
    )


def _fit_together(
    values: Tensor, labels: Tensor, sample_weights: Tensor, *, penalty: float, classes: int, check: Check
) -> Tensor:
    """Fit heads that share one solver; shapes as in `fit_heads`."""
    count, width = values.shape
    heads = sample_weights.shape[1]
    total = sample_weights.sum(0)
    shares = (sample_weights / torch.where(total > 0, total, 1)).to(values.dtype)  # (N, J)
    weights = values.new_zeros(width + 1, heads * classes).requires_grad_()
    targets = labels.view(-1, 1).expand(-1, heads)  # (N, J)
    rows = max(1, _LOGITS_AT_ONCE // (heads * classes))
    optimizer = _LBFGS(
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
    """Mean logits (N, K) of each sample over the heads fitted without it.

    Head j is fitted with column j of `sample_weights` (N, J), set to zero where `held` (N, J) is true.
    Every sample must be held out of at least one head.
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


def folds(strata: Labels, *, count: int, rng: np.random.Generator, clusters: Labels | None = None) -> Labels:
    """Assign samples at random to `count` folds, (N,), spreading each stratum evenly.

    Samples with equal `clusters` (N,), of one subject or copies of one image, share a fold, since a head
    fitted to one of them has seen the others. The folds then balance clusters, not samples. A cluster that
    occurs in several strata is assigned with the first of them; the later ones are filled up around it.
    """
    first = first_samples(clusters, len(strata))
    last = np.zeros(len(strata), np.int64)  # the last stratum of each cluster
    np.maximum.at(last, first, strata)
    assigned = np.full(len(strata), -1)  # per cluster, at the index of its first sample
    for stratum in np.unique(strata):
        mine = np.unique(first[strata == stratum])
        dealt = assigned[mine]
        rest = rng.permutation(mine[dealt < 0])
        rest = rest[np.argsort(last[rest], kind="stable")]  # spreads clusters over their last stratum too
        taken = np.bincount(dealt[dealt >= 0], minlength=count)
        assigned[rest] = _emptiest(taken, len(rest), start=int(rng.integers(count)))
    return assigned[first]


def _emptiest(taken: Labels, number: int, *, start: int) -> Labels:
    """Folds of `number` more clusters, each the one with the fewest so far; ties rotate from `start`."""
    count = len(taken)
    level, fold = np.divmod(np.arange((int(taken.max()) + number // count + 1) * count), count)
    fold = (fold + start) % count
    return np.asarray(fold[level >= taken[fold]][:number])


def first_samples(clusters: Labels | None, count: int) -> Labels:
    """Index (N,) of the first sample of the same cluster; without `clusters`, all samples are independent."""
    if clusters is None:
        return np.arange(count)
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.asarray(first[inverse], np.int64)


def balanced_weights(labels: Labels, groups: Labels, included: NDArray[np.bool_] | None = None) -> Floats:
    """Sample weights (N,) that balance classes, and groups within each class; zero outside `included`."""
    return np.asarray(group_weights(labels, np.eye(int(groups.max()) + 1)[groups], included).sum(1))


def group_weights(labels: Labels, members: Floats, included: NDArray[np.bool_] | None = None) -> Floats:
    """Weight of each sample in each group, (N, groups), from its memberships `members` (N, groups).

    The weights of a class sum to 1, divided equally among its groups. Classes are balanced first: otherwise
    a class whose groups could not be told apart would weigh less than the others. Zero outside `included`.
    """
    inside = members if included is None else members * included[:, None]
    weights = np.zeros_like(inside)
    for label in np.unique(labels):
        mine = labels == label
        sizes = inside[mine].sum(0)
        present = np.flatnonzero(sizes)
        weights[np.ix_(mine, present)] = inside[mine][:, present] / (len(present) * sizes[present])
    return weights
