"""The test behind the findings: a cross-validated classifier per property, permuted labels for the family."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.store import Store
from models.shortcuts.findings import (
    MIN_PER_CLASS,
    RULE,
    PropertyCounts,
    ShortcutCheck,
    Transfer,
    make_finding,
    no_findings,
    sort_findings,
    summary,
)
from models.shortcuts.naive_bayes import Bins, binned, cross_fit, predict_unseen, stratified_folds
from models.shortcuts.properties import MAX_IMAGES, PropertyTable, simple_properties
from models.statistics import wilson
from models.types import Labels

FOLDS = 5
MAX_CLASSES = 20  # the cost grows with their number


class OtherSplit(NamedTuple):
    """The measured properties and labels (M,) of another split."""

    split: str
    table: PropertyTable
    labels: Labels


def find_shortcuts(
    store: Store,
    *,
    rng: np.random.Generator,
    split: str = "train",
    compare: str = "test",
    max_images: int = MAX_IMAGES,
    permutations: int = 199,
    on_progress: Callable[[int, int], None] | None = None,
) -> ShortcutCheck:
    """Measure and judge a random sample of `split`; a quarter as many of `compare` show what holds there.

    Each picture counts once: otherwise a rule learned on one copy would be judged on the other, and labels
    that nothing predicts would seem predictable.
    Takes about 2 s for 5,000 images of 28 pixels and 15 s for 5,000 photographs of 500×375; of larger ones,
    fewer are measured. `on_progress(done, total)` counts images of `split`; it may raise to end the check.
    """
    rows = rng.permutation(_pictures(store, split))
    if len(rows) == 0:
        return dataclasses.replace(no_findings(0, store.classes), split=split)
    table = simple_properties(store, rows, limit=max_images, on_progress=on_progress)
    foreign = rng.permutation(_pictures(store, compare)) if compare != split else rows[:0]
    other = None
    if len(foreign):
        measured = simple_properties(store, foreign, limit=max(1, max_images // 4))
        other = OtherSplit(compare, measured, store.labels[measured.rows])
    check = check_properties(
        table, store.labels[table.rows], store.classes, rng=rng, permutations=permutations, elsewhere=other
    )
    return dataclasses.replace(check, split=split, available=len(rows))


def _pictures(store: Store, split: str) -> Labels:
    """The rows of a split, only the first of each picture."""
    rows = store.rows(split)
    return rows[store.firsts(rows)]


def check_properties(
    table: PropertyTable,
    labels: Labels,
    classes: Sequence[str],
    *,
    rng: np.random.Generator,
    permutations: int = 199,
    elsewhere: OtherSplit | None = None,
) -> ShortcutCheck:
    """Which property of `table` predicts `labels` (N,), by `RULE`.

    Each property has its own naive Bayes on quantile bins, which finds bands and thresholds alike.
    Its statistics are the effect over all classes and the effect for each class. Labels are permuted
    within the stratified folds, so that under the null hypothesis the observed labels are one more
    permutation; each statistic is standardised by its permutations, and the family's statistic is the
    largest over all properties. The test is therefore exact: benchmarks/shortcuts.py counts its false
    alarms.
    """
    classes_kept = _kept_classes(labels, len(classes))
    inside = np.isin(labels, classes_kept)
    left_out = tuple(name for code, name in enumerate(classes) if code not in classes_kept)
    if len(classes_kept) < 2:
        return no_findings(int(inside.sum()), left_out)
    known = np.searchsorted(classes_kept, labels[inside])  # renumbered from 0
    names = tuple(classes[code] for code in classes_kept.tolist())
    bins = [binned(values[inside]) for _, values in table.columns()]
    there = _transfers(bins, known, elsewhere, classes_kept) if elsewhere is not None else [None] * len(bins)
    counted = _count(table, bins, known, rng=rng, permutations=permutations)
    findings = sort_findings(
        [make_finding(e._replace(elsewhere=moved), names) for e, moved in zip(counted, there, strict=True)]
    )
    return ShortcutCheck(
        split="",
        n=len(known),
        available=len(labels),
        classes=names,
        left_out=left_out,
        permutations=permutations,
        rule=RULE,
        strength=findings[0].strength,
        sentence=summary(findings),
        findings=findings,
    )


def _kept_classes(labels: Labels, classes: int) -> Labels:
    counts = np.bincount(labels, minlength=classes)
    largest = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    return np.sort(largest[counts[largest] >= MIN_PER_CLASS])


def _count(
    table: PropertyTable, bins: Sequence[Bins], labels: Labels, *, rng: np.random.Generator, permutations: int
) -> list[PropertyCounts]:
    folds = stratified_folds(labels, FOLDS, rng)
    drawn = _permuted(labels, folds, permutations, rng)
    fitted = cross_fit(bins, drawn, folds)
    accurate = cross_fit(bins, labels[:, None], folds, prior=True)
    p_values = _family_wise(np.stack([fit.effects() for fit in fitted]))
    return [
        PropertyCounts(
            measured, fit.hits[0], fit.predicted[0], fit.counts[0], int(best.hits.sum()), p_value, None
        )
        for (measured, _), fit, best, p_value in zip(
            table.columns(), fitted, accurate, p_values.tolist(), strict=True
        )
    ]


def _permuted(labels: Labels, folds: Labels, permutations: int, rng: np.random.Generator) -> Labels:
    """The labels and P permutations of them, (N, 1 + P), the observed labels first."""
    drawn = np.repeat(labels[:, None], 1 + permutations, axis=1)
    for fold in range(FOLDS):
        inside = folds == fold
        drawn[inside, 1:] = rng.permuted(drawn[inside, 1:], axis=0)
    return drawn


def _family_wise(effects: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values (D,) of effects (D, 1 + P, S), the observed effects at index 0 of the second axis.

    The observed labels count as one of the permutations throughout, so no p-value is below 1/(1 + P).
    """
    spread = effects.std(1, keepdims=True)
    centred = effects - effects.mean(1, keepdims=True)
    scores = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12).max(2)  # (D, 1 + P)
    best = scores.max(0)
    return np.asarray((best >= scores[:, :1] - 1e-9).mean(1))


def _transfers(
    bins: Sequence[Bins], labels: Labels, elsewhere: OtherSplit, codes: Labels
) -> list[Transfer | None]:
    """Fit the accurate rule on all of `labels`, and judge it on the classes `codes` of the other split."""
    inside = np.isin(elsewhere.labels, codes)
    truth = np.searchsorted(codes, elsewhere.labels[inside])
    if len(truth) == 0:
        return [None] * len(bins)
    transfers: list[Transfer | None] = []
    for own, (_, values) in zip(bins, elsewhere.table.columns(), strict=True):
        correct = int((predict_unseen(own, values=values[inside], labels=labels) == truth).sum())
        share = wilson(correct, len(truth))
        transfers.append(Transfer(elsewhere.split, len(truth), correct, correct / len(truth), *share))
    return transfers
