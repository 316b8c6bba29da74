"""Certificates on images that come in subjects: a digit's twelve copies, shifted and turned, are one.

The population is every digit that the classifier was not fitted on, with its copies; a calibration split is a
draw of subjects from it, each with all of its images, so the true risk of a threshold is a count. Imports no
torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from models.data.clusters import one_of_each
from models.selective import CalibrationTable, log_probabilities
from models.selective.certify import certified_step, walks

COPIES = 12
FITTED = 300  # digits of the classifier, so few that a seventh of the copies of others is answered wrongly
SUBJECTS = (300, 1000)
JITTERS = {"alike": (0.05, 0.1), "less alike": (0.1, 0.25)}
"""Of the copies: how far they are turned, in radians, and shifted, in pixels; standard deviations."""
MAX_RISK, CONFIDENCE = 0.05, 0.95
_STAKES = 20  # of the betting test

Floats = NDArray[np.float64]


class PolicyTarget(NamedTuple):
    max_risk: float
    confidence: float


class Images(NamedTuple):
    """The score of each answer, and whether it is wrong, (S, COPIES) each, for S subjects."""

    scores: Floats
    wrong: NDArray[np.bool_]

    def of(self, subjects: NDArray[np.int64]) -> Images:
        return Images(self.scores[subjects], self.wrong[subjects])

    def table(self, inside: NDArray[np.bool_] | slice = slice(None)) -> CalibrationTable:
        """Its images, or those of them that are `inside` (S × COPIES,), as if they were independent."""
        return CalibrationTable.build(self.scores.ravel()[inside], ~self.wrong.ravel()[inside])


class Digits(NamedTuple):
    """Digits that classifiers are fitted on, and `COPIES` of each of S others, in their order."""

    fitted: Floats
    fitted_labels: NDArray[np.int64]
    copies: Floats
    labels: NDArray[np.int64]


def jittered(seed: int, jitter: tuple[float, float], *, fitted: int = FITTED) -> Digits:
    """`fitted` random digits, and copies of all others, shifted and turned by `jitter`."""
    rng = np.random.default_rng(seed)
    digits, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(digits))
    of_fit, others = order[:fitted], order[fitted:]
    copies = np.stack([_copy(digits[digit], jitter, rng) for digit in np.repeat(others, COPIES)])
    return Digits(digits[of_fit], labels[of_fit], copies, labels[others])


def population(seed: int, jitter: tuple[float, float]) -> Images:
    """The classifier's answers on every copy of the digits that it was not fitted on."""
    digits = jittered(seed, jitter)
    classifier = LogisticRegression(max_iter=1000).fit(digits.fitted, digits.fitted_labels)
    logits = classifier.decision_function(digits.copies)
    answers = logits.argmax(1)
    shape = (len(digits.labels), COPIES)
    wrong = answers != np.repeat(digits.labels, COPIES)
    return Images(log_probabilities(logits, answers).reshape(shape), wrong.reshape(shape))


def _copy(digit: Floats, jitter: tuple[float, float], rng: np.random.Generator) -> Floats:
    angle, shift = rng.normal(0, jitter[0]), rng.normal(0, jitter[1], 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = np.full(2, 3.5)
    moved = affine_transform(digit.reshape(8, 8), turn, offset=centre - turn @ centre + shift, order=1)
    return np.asarray(moved, np.float64).ravel()


def ignored(split: Images, rng: np.random.Generator) -> float:
    """The certificate that counts every image. +inf, as below, where nothing is certified."""
    return _threshold(split.table())


def one_image(split: Images, rng: np.random.Generator) -> float:
    """The product's certificate: on one image per subject, drawn at random."""
    clusters = np.repeat(np.arange(len(split.scores)), COPIES)
    return _threshold(split.table(one_of_each(clusters, rng)))


def betting(split: Images, rng: np.random.Generator, *, thresholds: Floats) -> float:
    """All images, in a test for means of subjects: the product's rival, which exists only here.

    Learn-then-Test with the product's starts, over (100,) `thresholds` in descending order that do not depend
    on the split, and a test by betting (Waudby-Smith and Ramdas 2024). If the risk is above MAX_RISK, then x
    = (share of a subject's images answered wrongly) − MAX_RISK · (share answered) has a mean above 0, and the
    mean over stakes λ of Π (1 − λ x) ever exceeds 1 / level with a probability of at most `level`.
    """
    subjects, certified = len(split.scores), math.inf
    stakes = np.linspace(0, 1 / (1 - MAX_RISK), _STAKES + 1)[1:, None] * 0.99
    order = rng.permutation(subjects)
    for start, level in walks(subjects, MAX_RISK, CONFIDENCE):
        for threshold in thresholds[math.ceil(start / subjects * len(thresholds)) - 1 :]:
            answered = split.scores[order] >= threshold
            x = (split.wrong[order] & answered).mean(1) - MAX_RISK * answered.mean(1)
            if np.exp(np.cumsum(np.log1p(-stakes * x), axis=1)).mean(0).max() < 1 / level:
                break
            certified = min(certified, float(threshold))
    return certified


def _threshold(table: CalibrationTable) -> float:
    step = certified_step(table, MAX_RISK, CONFIDENCE)
    return math.inf if step is None else float(table.thresholds[step])


def rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per jitter, number of subjects and method: mean coverage, and how often the promise was broken."""
    for name, jitter in JITTERS.items():
        for row in _rows(population(seed, jitter), draws, seed):
            yield {"copies": name, **row}


def _rows(every: Images, draws: int, seed: int) -> Iterator[dict[str, object]]:
    true = every.table()
    ranks = np.searchsorted(true.answered, np.arange(1, 101) / 100 * true.n)
    methods: dict[str, Callable[[Images, np.random.Generator], float]] = {
        "every image": ignored,
        "one image per subject": one_image,
        "betting on subjects": partial(betting, thresholds=true.thresholds[ranks]),
    }
    fits = true.answered[true.wrong <= MAX_RISK * true.answered]
    for subjects in SUBJECTS:
        rng = np.random.default_rng([seed, subjects])
        splits = [every.of(rng.integers(0, len(every.scores), subjects)) for _ in range(draws)]
        for name, method in methods.items():
            counts = [true.at(method(split, rng)) for split in splits]
            yield {
                "subjects": subjects,
                "certificate on": name,
                "coverage": sum(answered for answered, _ in counts) / true.n / draws,
                "oracle": int(fits[-1]) / true.n,
                "broken": sum(wrong > MAX_RISK * answered for answered, wrong in counts) / draws,
            }


def targets(figures: list[dict[str, object]], draws: int) -> dict[str, dict[str, object]]:
    """With subjects the promise holds, to two standard errors of a share; without them, far from it."""
    delta = 1 - CONFIDENCE
    at_most = delta + 2 * math.sqrt(delta * (1 - delta) / draws)
    aims: dict[str, dict[str, object]] = {}
    for row in figures:
        broken, name = (
            float(str(row["broken"])),
            f"{row['copies']}/{row['subjects']} subjects/{row['certificate on']}",
        )
        if row["certificate on"] == "every image":
            aims[name] = {"value": broken, "at_least": 2 * delta, "ok": broken >= 2 * delta}
        else:
            aims[name] = {"value": broken, "at_most": at_most, "ok": broken <= at_most}
    return aims
