"""A head that gave up one pattern, judged by columns of metadata: is *hurt* said where it leans on another?

Features show the class, a pattern A and perhaps a pattern B, each of which goes with the class in 95 % of all
images. The head is balanced over class × A, its rival over the classes alone. A column states B,
alone or as one of several. `rate` is how often *hurt* is said by the column, of the draws in which the head
helped by A. Equal models answer by chance, equally well in each group of the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import ndtri

from benchmarks._common import TARGET, Aim, table
from models.evaluation.verdict import CONFIDENCE, Verdict, compare, verdict
from models.mitigation.logistic import balanced_weights, fit_heads
from models.types import Bools, Floats, Labels

DRAWS = 100
TRAINING = 1600
SHARE = 0.95
"""Of images whose pattern, or column, is that of their class."""
PENALTY = 0.01
NOISE = 24
"""Features that show nothing, beside three that show the class, A and B."""
ACCURACIES = 0.75, 0.97
"""Of equal models, where the column is not that of the class, and where it is."""
SHARED_ERRORS = 0.7
"""Correlation of two equal models' errors on one image, in probits."""


class Setting(NamedTuple):
    """How far apart class, A and B hold two classes, in standard deviations of the features; test images, and
    columns that are judged."""

    name: str
    apart: tuple[float, float, float]
    images: int
    columns: int
    at_least: float | None = None
    at_most: float | None = None


_NO_EFFECT, _WEAK, _STRONG = (2.0, 3.0, 0.0), (2.0, 3.0, 2.5), (1.0, 3.0, 3.5)
SETTINGS = (
    Setting("no effect", _NO_EFFECT, 3_000, 1, at_most=TARGET),
    Setting("no effect", _NO_EFFECT, 12_000, 1, at_most=TARGET),
    Setting("B weaker than A", _WEAK, 3_000, 1),
    Setting("B weaker than A", _WEAK, 12_000, 1, at_least=0.9),
    Setting("B stronger than A", _STRONG, 3_000, 1, at_least=0.9),
    Setting("B stronger than A", _STRONG, 3_000, 5),
    Setting("B stronger than A", _STRONG, 12_000, 1, at_least=0.95),
)


def measure(draws: int, seed: int) -> list[dict[str, Any]]:
    """A row for each setting, printed."""
    rng = np.random.default_rng(seed)
    equal = Setting("equal models", _NO_EFFECT, 3_000, 1, at_most=TARGET)
    rows = [_row(equal, [_by_column(*_equal_models(equal, rng), rng, columns=1) for _ in range(draws)])]
    rows += [_row(setting, [_by_trained(setting, rng) for _ in range(draws)]) for setting in SETTINGS]
    print(table(rows))
    return rows


def _row(setting: Setting, verdicts: Sequence[Verdict | None]) -> dict[str, Any]:
    """`lost`: by how much the worst group of the column differs, on average. `without_rule`: how often its
    interval lies below zero, whatever the worst class has lost."""
    of_helped = [one for one in verdicts if one is not None]
    figures = [(one.verdict == "hurt", one.deciding.high < 0, -one.deciding.estimate) for one in of_helped]
    rate, without_rule, lost = np.mean(figures, 0).tolist()
    counts = {"helped": len(of_helped), "lost": lost, "rate": rate, "without_rule": without_rule}
    return setting._asdict() | counts


def targets(rows: Sequence[dict[str, Any]], _: int) -> dict[str, dict[str, Any]]:
    """What each setting with a target must keep."""
    return {
        f"{row['name']}, {row['images']} images, columns: {row['columns']}": Aim(
            row["rate"], at_least=row["at_least"], at_most=row["at_most"]
        ).to_json()
        for row in rows
        if row["at_least"] is not None or row["at_most"] is not None
    }


def _by_trained(setting: Setting, rng: np.random.Generator) -> Verdict | None:
    """What the column says; None in a draw in which the head does not help by A."""
    labels, a, _, values = _draw(setting.apart, TRAINING, rng)
    weights = np.stack([balanced_weights(labels, groups) for groups in (2 * labels + a, labels)], 1)
    heads = fit_heads(
        torch.from_numpy(values),
        torch.from_numpy(labels),
        torch.from_numpy(weights),
        penalty=PENALTY,
        classes=2,
    ).numpy()
    labels, a, b, values = _draw(setting.apart, setting.images, rng)
    head, rival = (np.asarray((values @ one[:-1] + one[-1]).argmax(1) == labels) for one in heads)
    if _verdict(head, rival, labels, a, rng).verdict != "helped":
        return None
    return _by_column(head, rival, labels, b, rng, columns=setting.columns)


def _draw(
    apart: tuple[float, ...], n: int, rng: np.random.Generator
) -> tuple[Labels, Labels, Labels, Floats]:
    """Classes, A and B (n,), and features (n, 3 + NOISE)."""
    labels = np.arange(n) % 2
    a, b = (np.where(rng.random(n) < SHARE, labels, 1 - labels) for _ in range(2))
    values = rng.standard_normal((n, 3 + NOISE))
    values[:, :3] += (np.stack([labels, a, b], 1) - 0.5) * apart
    return labels, a, b, values


def _equal_models(setting: Setting, rng: np.random.Generator) -> tuple[Bools, Bools, Labels, Labels]:
    labels, _, column, _ = _draw(setting.apart, setting.images, rng)
    shared, *own = rng.standard_normal((3, len(labels)))
    levels = ndtri(np.array(ACCURACIES))[(column == labels).astype(int)]
    a, b = (SHARED_ERRORS**0.5 * shared + (1 - SHARED_ERRORS) ** 0.5 * one < levels for one in own)
    return a, b, labels, column


def _by_column(
    a: Bools, b: Bools, labels: Labels, column: Labels, rng: np.random.Generator, *, columns: int
) -> Verdict:
    confidence = 1 - (1 - CONFIDENCE) / columns
    return _verdict(a, b, labels, column, rng, confidence=confidence, by_column=True)


def _verdict(
    a: Bools,
    b: Bools,
    labels: Labels,
    values: Labels,
    rng: np.random.Generator,
    *,
    confidence: float = CONFIDENCE,
    by_column: bool = False,
) -> Verdict:
    groups = 2 * labels + values
    differences = compare(a, b, classes=labels, groups=groups, confidence=confidence, generator=lambda _: rng)
    return verdict(differences, by_column=by_column)
