"""What is said around a verdict: that another training may differ, that a person's answers confirm a guess,
that a property tells the classes apart, how often a model is right in a group with doubted labels.

A row each: the rate at which a verdict is wrong, by the rule as it is and as it was or would be without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from app.reports.image_answers import LEAST_PRECISION, precision_bound
from benchmarks._common import TARGET, Aim, table
from models.evaluation.paired import Difference, mean_over_seeds, paired_difference
from models.shortcuts.check import check_properties
from models.shortcuts.properties import Property, PropertyTable
from models.statistics import wilson
from models.types import Bools, Floats, Labels

RESAMPLES = 1000
DRAWS = 400
BURST_DRAWS = 200
BURSTS = (2, 5, 10)

SPREAD = 0.1
"""Standard deviation of a group's accuracy between trainings, in probits: 3.5 points at 0.7."""
ACCURACIES = 0.95, 0.8, 0.7, 0.95
"""By group, of both models: the mean over all trainings."""
SEEDS = 3
SHARED_ERRORS = 0.7
"""Correlation of two models' errors on one image, in probits."""


def measure(draws: int, seed: int) -> list[dict[str, Any]]:
    """Every claim, printed: a row each."""
    rng = np.random.default_rng(seed)
    rows = [trainings(n, min(draws, DRAWS), rng) for n in (300, 642)]
    rows += [confirmed_guess(draws, rng), doubted_images(draws, rng)]
    rows += [bursts(size, min(draws, BURST_DRAWS), rng) for size in BURSTS]
    print(table(rows))
    return rows


def targets(rows: Sequence[dict[str, Any]], _: int) -> dict[str, dict[str, Any]]:
    """That each rule keeps its level, within three standard errors."""
    return {row["claim"]: Aim(row["rate"], at_most=row["at_most"]).to_json() for row in rows}


def trainings(n: int, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often two equally good procedures differ by the verdict, with `n` images in the worst group: from
    one training of each, and over `SEEDS`."""
    sizes = 1000, 1000, n, n
    decided = np.zeros(2)
    for _ in range(draws):
        differences = _of_seeds(sizes, rng)
        decided += [_is_decided(differences[0]), _is_decided(mean_over_seeds(differences))]
    without, rate = (decided / draws).tolist()
    return _row(f"equal procedures, {n} images, {SEEDS} seeds", draws, rate, without)


def confirmed_guess(draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often a person's answers let groups decide, of which 24 % are right: by those for the 25 images
    drawn at random, and by more than half of all 50, of which 20 of the 25 surest lack the pattern."""
    lacking = rng.binomial(25, 0.24, draws)
    bounds = np.array([precision_bound(count, 25, listed=50) for count in range(26)])
    decided, by_all = (bounds[lacking] >= LEAST_PRECISION).mean(), (2 * (20 + lacking) > 50).mean()
    return _row("a guess of which 24 % are right", draws, float(decided), float(by_all), level=0.025)


def doubted_images(draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often the interval of a group of 300 misses its accuracy, .55, with the images whose label is
    doubted; and without those that another model, right on .45, does not answer rightly either. The doubt
    falls on 40 % of the images that both get wrong."""
    missed = np.zeros(2)
    for _ in range(draws):
        hard = rng.random(300)
        right, other = hard < 0.55, hard < 0.45
        stays = right | other | (rng.random(300) > 0.4)
        for column, part in enumerate((right, right[stays])):
            interval = wilson(int(part.sum()), len(part))
            missed[column] += not interval.low <= 0.55 <= interval.high
    rate, without = (missed / draws).tolist()
    return _row("a group with doubted labels", draws, rate, without)


def bursts(size: int, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """How often a property seems to tell the classes of 300 images apart that none does, if so many in a row
    show one thing: named as a subject, so that one image of each counts, and unnamed."""
    things = 300 // size
    alarms = np.zeros(2)
    for _ in range(draws):
        values = np.repeat(rng.standard_normal((things, 17)), size, axis=0)
        values += 0.3 * rng.standard_normal(values.shape)
        labels = np.repeat(rng.integers(0, 2, things), size)
        alarms += [_tells_classes(values[::size], labels[::size], rng), _tells_classes(values, labels, rng)]
    rate, without = (alarms / draws).tolist()
    return _row(f"bursts of {size}, named as subjects", draws, rate, without)


def _tells_classes(values: Floats, labels: Labels, rng: np.random.Generator) -> bool:
    columns = [Property(f"p{i}", "whole image", f"property {i}", ("x",)) for i in range(values.shape[1])]
    measured = PropertyTable(np.arange(len(labels)), tuple(columns), values.astype(np.float32))
    check = check_properties(measured, labels, ["a", "b"], rng=rng, permutations=99)
    return check.strength != "none"


def _of_seeds(sizes: tuple[int, ...], rng: np.random.Generator) -> list[Difference]:
    """The difference in the worst group with each seed, on the same images."""
    strata = np.repeat(np.arange(len(sizes)), sizes)
    image = rng.standard_normal(len(strata))  # (N,) how hard it is
    return [
        paired_difference(
            _outcomes(image, strata, rng),
            _outcomes(image, strata, rng),
            strata=strata,
            statistic="worst_group_accuracy",
            generator=rng,
            resamples=RESAMPLES,
        )
        for _ in range(SEEDS)
    ]


def _outcomes(image: NDArray[np.float64], strata: NDArray[np.int64], rng: np.random.Generator) -> Bools:
    levels = ndtri(ACCURACIES) + SPREAD * rng.standard_normal(len(ACCURACIES))
    own = rng.standard_normal(len(strata))
    errors = SHARED_ERRORS**0.5 * image + (1 - SHARED_ERRORS) ** 0.5 * own
    return np.asarray(errors < levels[strata])


def _is_decided(difference: Difference) -> bool:
    return difference.low > 0 or difference.high < 0


def _row(claim: str, draws: int, rate: float, without: float, level: float = TARGET) -> dict[str, Any]:
    allowed = level + 3 * (level * (1 - level) / draws) ** 0.5
    return {"claim": claim, "draws": draws, "rate": rate, "at_most": allowed, "without_rule": without}
