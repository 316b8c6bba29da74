"""Methods on the table of a biased model's prediction × class."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.mitigation.logistic import balanced_weights, fit_heads, folds
from models.runtime.eager_optim import eager
from models.types import Floats, Labels
from research.rivals.protocol import CONFIG, Fit, Training, reweight

_CCDB_FIRST, _CCDB_SHARE, _CCDB_REPEATS = 0.1, 0.5, 3
_OVERFITTED = 0.01  # penalty of a head that fits nearly all of its samples
_FEWEST = 2  # samples of a cell that is weighted by itself
_LBFGS = eager(torch.optim.LBFGS)
_FOLDS = 5


def fg_ccdb(training: Training) -> Fit:
    """FG-CCDB (Zhao 2026): each class gets the same mix of a biased model's predictions.

    A biased model is fitted to a tenth of the samples until it overfits, then three times to the half of each
    class that it is surest of. A sample of class y that it takes for s has the weight q(s) / P(s | y), shared
    by its cell; q(s) is the share that is taken for s. Published: networks, selected by the worst class of a
    validation split. Here: heads, and nothing to select; a cell of one sample joins its class's own.
    """
    labels, classes = training.labels, len(training.classes)
    features, targets = training.standardised.values, torch.from_numpy(training.labels)
    chosen = folds(labels, count=round(1 / _CCDB_FIRST), rng=training.rng(10)) == 0
    for _ in range(_CCDB_REPEATS + 1):
        weights = torch.from_numpy(balanced_weights(labels, labels, chosen)[:, None])
        fitted = fit_heads(features, targets, weights, penalty=_OVERFITTED, classes=classes)[0]
        log_probabilities = (features @ fitted[:-1] + fitted[-1]).log_softmax(1).numpy()
        chosen = _surest(log_probabilities[np.arange(len(labels)), labels], labels)
    predictions = np.asarray(log_probabilities.argmax(1), np.int64)
    return Fit(reweight(training, mixture_weights(predictions, labels, classes)), predictions != labels)


def _surest(confidence: Floats, labels: Labels) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        chosen[mine[np.argsort(-confidence[mine], kind="stable")[: round(_CCDB_SHARE * len(mine))]]] = True
    return chosen


def mixture_weights(predictions: Labels, labels: Labels, classes: int) -> Floats:
    """Weights (N,) under which every class has the same mix of predictions, that of the whole set.

    Classes weigh the same, but for the cells that one of them lacks.
    """
    table = np.zeros((classes, classes))
    np.add.at(table, (predictions, labels), 1)
    alone = table[predictions, labels] < _FEWEST
    predictions = np.where(alone, labels, predictions)
    table = np.zeros((classes, classes))
    np.add.at(table, (predictions, labels), 1)
    mix = table.sum(1) / table.sum()
    return np.asarray(mix[predictions] / table[predictions, labels])


def ula(training: Training) -> Fit:
    """uLA (Tsirigotis et al. 2023): logit adjustment by log p(y | the biased model's prediction).

    Published: a linear proxy on a self-supervised backbone, then the network finetuned from it. Here: the
    frozen features, the control as proxy, by its held-out predictions, and a head. As published, the offset
    is added in training only, and the mean accuracy over the cells chooses among the candidates.
    """
    labels, classes = training.labels, len(training.classes)
    table = conditional(training.held_out, labels)
    offsets = torch.from_numpy(np.log(table)[training.predictions].astype(np.float32))
    features, targets = training.standardised.values, torch.from_numpy(labels)
    cells = training.predictions * classes + labels
    fold = folds(cells, count=_FOLDS, rng=training.rng(11))
    held = fold[:, None] == np.arange(_FOLDS)

    def held_out_accuracy(penalty: float) -> float:
        fitted = fit_adjusted_heads(features, targets, offsets, ~held, penalty=penalty)
        logits = torch.einsum("nd,jdk->njk", features, fitted[:, :-1]) + fitted[:, -1]
        right = (logits.argmax(2).numpy() == labels[:, None])[held]  # in the order of the samples
        sizes = np.bincount(cells)
        return float((np.bincount(cells, right)[sizes > 0] / sizes[sizes > 0]).mean())

    penalty = max(CONFIG.penalties, key=held_out_accuracy)
    whole = np.ones((len(labels), 1), bool)
    fitted = fit_adjusted_heads(features, targets, offsets, whole, penalty=penalty)[0]
    return Fit(training.standardised.head(fitted), training.predictions != labels)


def conditional(log_probabilities: Floats, labels: Labels) -> Floats:
    """p(y | a) (K, K) of classes y given predictions a, from the soft joint table."""
    joint = np.exp(log_probabilities).T @ np.eye(log_probabilities.shape[1])[labels]
    return np.asarray(joint / joint.sum(1, keepdims=True))


def fit_adjusted_heads(
    features: Tensor,
    labels: Tensor,
    offsets: Tensor,
    included: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    *,
    penalty: float,
) -> Tensor:
    """Heads (J, D + 1, K), one per column of `included`: least CE(f(x) + offset, y) + ½·`penalty`·‖W‖²."""
    heads, classes = included.shape[1], offsets.shape[1]
    shares = torch.from_numpy((included / included.sum(0)).astype(np.float32))
    weights = features.new_zeros(features.shape[1] + 1, heads * classes).requires_grad_()
    targets = labels.view(-1, 1).expand(-1, heads)
    optimizer = _LBFGS([weights], max_iter=300, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = (features @ weights[:-1] + weights[-1]).view(-1, heads, classes) + offsets[:, None]
        losses = F.cross_entropy(logits.permute(0, 2, 1), targets, reduction="none")
        loss = (shares * losses).sum() + 0.5 * penalty * weights[:-1].square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return weights.detach().view(-1, heads, classes).transpose(0, 1)
