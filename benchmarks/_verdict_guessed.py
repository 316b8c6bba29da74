"""The interval of a verdict by inferred groups, where the guess errs with the models.

Of two classes, images have the pattern of their class or lack it. A judge guesses which, misses a fifth of
those that lack it, and four of five that it names do. What makes it err may be what makes the control
err (`loading`, of each on the same normal variable: their errors' correlation in probits is its square); the
new head errs on its own. Beside the product's interval, which takes the groups as guessed, stand that by the
true groups; one that a person's answers for 25 images of each class correct, drawn from the named *test*
images (prediction-powered inference, Angelopoulos et al. 2023); and the product's, wider by what the worst of
these biases takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from benchmarks._common import TARGET, Aim
from models.evaluation.paired import paired_difference
from models.types import Bools, Labels

DRAWS = 100
ANSWERS = 25
MISSED, PRECISION = 0.2, 0.8
WIDER = 0.12
_RESAMPLES = 500
_IMAGES = ((950, 50), (1900, 100), (450, 450))
"""Of each class: those that have its pattern, and those that lack it."""
_ACCURACIES = {
    "gain": ((0.93, 0.7), (0.97, 0.5)),
    "none": ((0.95, 0.6), (0.95, 0.6)),
    "loss": ((0.93, 0.5), (0.95, 0.6)),
}
"""Of the new head and of the control, on images that have the pattern and on those that lack it."""


class Sample(NamedTuple):
    """Whether each model is right on each image (N,), and its group by truth and by the guess: twice its
    class, plus one if it lacks the pattern."""

    head: Bools
    control: Bools
    groups: Labels
    guessed: Labels


def draw(effect: str, images: tuple[int, int], loading: float, rng: np.random.Generator) -> Sample:
    head, control = _ACCURACIES[effect]
    have, lack = images
    falsely = lack * (1 - MISSED) * (1 - PRECISION) / PRECISION / have
    groups = np.repeat(np.arange(4), [have, lack, have, lack])
    lacks = groups % 2
    shared, *own = rng.standard_normal((4, len(groups)))
    rest = (1 - loading**2) ** 0.5
    named = loading * shared + rest * own[0] > np.where(lacks, ndtri(MISSED), ndtri(1 - falsely))
    return Sample(
        own[1] < ndtri(np.array(head))[lacks],
        loading * shared + rest * own[2] < ndtri(np.array(control))[lacks],
        groups,
        groups // 2 * 2 + named,
    )


def _by_groups(sample: Sample, groups: Labels, rng: np.random.Generator) -> tuple[float, float]:
    difference = paired_difference(
        sample.head,
        sample.control,
        strata=groups,
        statistic="worst_group_accuracy",
        generator=rng,
        resamples=_RESAMPLES,
    )
    return difference.low, difference.high


def _by_answers(sample: Sample, rng: np.random.Generator) -> tuple[float, float]:
    """The interval that `ANSWERS` of a person for each class correct."""
    named = [np.flatnonzero(sample.guessed == group) for group in range(4)]
    answered = [rng.choice(rows, min(ANSWERS, len(rows)), replace=False) for rows in (named[1], named[3])]
    differences = []
    for _ in range(_RESAMPLES // 5):  # drawn in Python
        rows = [rng.choice(each, len(each)) for each in named]
        of_person = [rng.choice(each, len(each)) for each in answered]
        head, control = (_least(right, sample.groups, rows, of_person) for right in sample[:2])
        differences.append(head - control)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def _least(right: Bools, groups: Labels, rows: Sequence[Labels], answered: Sequence[Labels]) -> float:
    """The lowest accuracy; of those named, as many right answers count as truly lack the pattern."""
    shares = [float(right[each].mean()) for each in (rows[0], rows[2])]
    for named, of_person in zip((rows[1], rows[3]), answered, strict=True):
        lacks = groups[of_person] % 2 == 1
        truly = right[named].mean() - (right[of_person] & ~lacks).mean()
        shares.append(float(np.clip(truly / max(lacks.mean(), 0.05), 0, 1)))
    return min(shares)


def measure(draws: int, seed: int) -> list[dict[str, Any]]:
    """Each interval, by how often it covers the true difference, and how often it lies above 0; printed."""
    rng = np.random.default_rng(seed)
    print(
        f"{'groups as guessed, loading':28} {'images':>12} {'effect':>6}   covers / above 0: guessed, true, "
        f"by {ANSWERS} answers a class, wider by {WIDER}"
    )
    rows = []
    for loading, images in itertools.product((0.0, 0.5, 0.7), _IMAGES):
        rows += [_row(effect, images, loading, draws, rng) for effect in _ACCURACIES]
    return rows


def _row(
    effect: str, images: tuple[int, int], loading: float, draws: int, rng: np.random.Generator
) -> dict[str, Any]:
    head, control = _ACCURACIES[effect]
    truth = min(head) - min(control)
    ends: dict[str, list[tuple[float, float]]] = {"guessed": [], "true": [], "answers": [], "wider": []}
    for _ in range(draws):
        sample = draw(effect, images, loading, rng)
        low, high = _by_groups(sample, sample.guessed, rng)
        ends["guessed"].append((low, high))
        ends["true"].append(_by_groups(sample, sample.groups, rng))
        ends["answers"].append(_by_answers(sample, rng))
        ends["wider"].append((low - WIDER, high + WIDER))
    row: dict[str, Any] = {"name": "guessed groups", "effect": effect, "images": images, "loading": loading}
    for name, intervals in ends.items():
        low_ends, high_ends = np.array(intervals).T
        row[f"{name} covers"] = float(np.mean((low_ends <= truth) & (truth <= high_ends)))
        row[f"{name} above"] = float(np.mean(low_ends > 0))
        row[f"{name} wrong"] = _wrong_sign(truth, low_ends, high_ends)
    shares = "  ".join(f"{row[f'{name} covers']:.2f} / {row[f'{name} above']:.2f}" for name in ends)
    print(f"{loading:<28.1f} {images!s:>12} {effect:>6}   {shares}", flush=True)
    return row


def _wrong_sign(truth: float, low: NDArray[np.float64], high: NDArray[np.float64]) -> float:
    """How often the interval lies on the other side of 0 than the truth, or on either if that is 0."""
    return float(np.mean(((low > 0) & (truth <= 0)) | ((high < 0) & (truth >= 0))))


def targets(figures: Sequence[dict[str, Any]], draws: int) -> dict[str, dict[str, Any]]:
    """What the product's interval holds, within three standard errors: no wrong sign where the guess errs on
    its own, nor, with up to 100 images of a class that lack the pattern, where it errs a little with the
    control; there it also covers the true difference."""
    error = 3 * (TARGET * (1 - TARGET) / draws) ** 0.5
    few = [row for row in figures if row["loading"] <= 0.5 and row["images"][1] <= 100]
    alone = [row for row in figures if row["loading"] == 0]
    covers = min(row["guessed covers"] for row in few)
    wrong = max(row["guessed wrong"] for row in (*few, *alone))
    least, most = 1 - TARGET - error, TARGET + error
    return {
        "guessed groups: covers": Aim(covers, at_least=least).to_json(),
        "guessed groups: wrong sign": Aim(wrong, at_most=most).to_json(),
    }
