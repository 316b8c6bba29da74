"""Naive Bayes on quantile bins, cross-validated for many labellings at once: two matrix products per fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.types import Floats32, Labels

# Finer at the ends, since a mark on a few images shows in a tail.
QUANTILES = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 0.99)
_PSEUDOCOUNT = 0.5  # images, in each bin and class
_BLOCK = 1 << 21  # scores held at once, float32: 8 MiB


class Bins(NamedTuple):
    """The bins of all features side by side: `onehot` (N, B); `sizes` (B,), how many bins the feature has."""

    onehot: Floats32
    sizes: Floats32
    edges: tuple[Floats32, ...]


class CrossFitted(NamedTuple):
    """Counts per labelling and class (P, K): `counts` samples, `predicted` as the class, `hits` rightly."""

    hits: Labels
    predicted: Labels
    counts: Labels

    def effects(self) -> NDArray[np.float64]:
        """(P, 1 + K): over all classes (0 at chance, 1 without errors), then recall − false rate of each.

        The first is the mean of the others if the classes are equally large; with two classes all agree.
        """
        classes = self.counts.shape[1]
        recall = self.hits / self.counts
        others = self.counts.sum(1, keepdims=True) - self.counts
        false = (self.predicted - self.hits) / others
        whole = (recall.mean(1, keepdims=True) * classes - 1) / (classes - 1)
        return np.concatenate([whole, recall - false], 1)


def binned(values: Floats32) -> Bins:
    """(N, d) → bins between the quantiles of each feature; equal values always share a bin."""
    edges = tuple(_edges(column) for column in values.T)
    sizes = np.concatenate([np.full(len(edge) + 1, len(edge) + 1, np.float32) for edge in edges])
    return Bins(_onehot(values, edges), sizes, edges)


def categorical_bins(numbers: Floats32, categories: int) -> Bins:
    """(N, 1) numbers of categories, from 0 → a bin for each category, which may be empty."""
    edge = np.arange(categories - 1, dtype=np.float32)
    return Bins(_onehot(numbers, (edge,)), np.full(categories, categories, np.float32), (edge,))


def _edges(column: Floats32) -> Floats32:
    """Edges below the largest value, so that no bin is empty and larger foreign values share its bin."""
    edges = np.unique(np.quantile(column, QUANTILES, method="lower"))
    return np.asarray(edges[edges < column.max()])


def _onehot(values: Floats32, edges: tuple[Floats32, ...]) -> Floats32:
    """A value's bin is the number of edges below it, so that a few high values among zeros get their own."""
    rows = np.arange(len(values))
    parts = []
    for column, edge in zip(values.T, edges, strict=True):
        part = np.zeros((len(values), len(edge) + 1), np.float32)
        part[rows, np.searchsorted(edge, column, side="left")] = 1
        parts.append(part)
    return np.concatenate(parts, 1)


def stratified_folds(labels: Labels, folds: int, rng: np.random.Generator) -> Labels:
    """(N,) fold numbers that spread every class evenly, at random."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    numbers = np.empty(len(labels), np.int64)
    numbers[by_class] = np.arange(len(labels)) % folds
    return numbers


def cross_fit(
    bins: Sequence[Bins], labels: Labels, folds: Labels, *, prior: bool = False
) -> tuple[CrossFitted, ...]:
    """Fit on all folds but one and predict that one, for each of `bins` and each column of `labels` (N, P).

    With `prior`, a class is weighted by its frequency (the most accurate rule); without it, all are
    weighted equally (the most balanced rule).
    """
    order = np.argsort(folds, kind="stable")
    ends = np.cumsum(np.bincount(folds))
    parts = [slice(end - size, end) for end, size in zip(ends, np.bincount(folds), strict=True)]
    sources = [Bins(own.onehot[order], own.sizes, own.edges) for own in bins]
    fitted: list[list[CrossFitted]] = [[] for _ in bins]
    for block in _blocks(labels[order]):
        for blocks, source in zip(fitted, sources, strict=True):
            predicted = _predict_held_out(source, block, parts, prior=prior)
            blocks.append(
                CrossFitted(
                    _tally(block.labels, block.classes, keep=predicted == block.labels),
                    _tally(predicted, block.classes),
                    _tally(block.labels, block.classes),
                )
            )
    return tuple(CrossFitted(*map(np.concatenate, zip(*blocks, strict=True))) for blocks in fitted)


def predict_unseen(bins: Bins, *, values: Floats32, labels: Labels) -> Labels:
    """Fit `bins` to (N,) `labels` with the prior, and predict the classes (M,) of foreign `values` (M, d)."""
    classes = int(labels.max()) + 1
    counts = np.bincount(labels, minlength=classes).astype(np.float32)
    table = bins.onehot.T @ np.eye(classes, dtype=np.float32)[labels]  # (B, K)
    scores = _onehot(values, bins.edges) @ _log_shares(table, counts, bins.sizes) + np.log(counts)
    return np.asarray(scores.argmax(1), np.int64)


class _Block(NamedTuple):
    """p of the labellings (N, p), and `targets` (N, p·K): 1 where a sample has that class."""

    labels: Labels
    targets: Floats32
    classes: int


def _blocks(labels: Labels) -> Iterator[_Block]:
    classes = int(labels.max()) + 1
    step = max(1, _BLOCK // (len(labels) * classes))
    for start in range(0, labels.shape[1], step):
        part = labels[:, start : start + step]
        targets = np.zeros((len(part), part.shape[1] * classes), np.float32)
        np.put_along_axis(targets, part + np.arange(part.shape[1]) * classes, 1, axis=1)
        yield _Block(part, targets, classes)


def _predict_held_out(source: Bins, block: _Block, parts: Sequence[slice], *, prior: bool) -> Labels:
    """Predict each sample by the fit on the other parts, (N, p)."""
    tables = [source.onehot[part].T @ block.targets[part] for part in parts]  # (B, p·K) each
    counts = [block.targets[part].sum(0) for part in parts]
    whole, total = np.sum(tables, 0), np.sum(counts, 0)
    predicted = []
    for part, table, count in zip(parts, tables, counts, strict=True):
        scores = source.onehot[part] @ _log_shares(whole - table, total - count, source.sizes)
        if prior:
            scores += np.log(total - count)
        predicted.append(scores.reshape(len(scores), -1, block.classes).argmax(2))
    return np.concatenate(predicted)


def _log_shares(table: Floats32, counts: Floats32, sizes: Floats32) -> Floats32:
    """log P(bin | class), from counts (B, K) per bin and (K,) in total."""
    return np.log((table + _PSEUDOCOUNT) / (counts + _PSEUDOCOUNT * sizes[:, None]))


def _tally(values: Labels, classes: int, *, keep: NDArray[np.bool_] | None = None) -> Labels:
    """Counts (p, K) of the classes in `values` (N, p), only where `keep` is true."""
    width = values.shape[1]
    flat = values + np.arange(width) * classes
    chosen = flat.ravel() if keep is None else flat[keep]
    return np.bincount(chosen, minlength=width * classes).reshape(width, classes)
