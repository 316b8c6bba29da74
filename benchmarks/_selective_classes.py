"""Promises by class and prediction sets on simulated populations, whose true shares are known in closed form.

A population gives the share of each pair of a true and a predicted class, and how sure the answers of each
pair are: a score is U^(1/sureness) for a uniform U, so that a share 1 − t^sureness of the pair is at or above
t. The certificate is compared with the thresholds that just keep the shares on the calibration split (naive).
A draw is violated if any statement that is made is false, of the risk of a predicted class or of the missed
of a true one.

Subjects have COPIES images each, all alike. Counting every image is compared with one image of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.selective import CalibrationTable, PredictionSets, certify_classes
from models.statistics import clopper_pearson

MAX_RISK = MAX_MISSED = 0.1
CONFIDENCE = 0.9
SIZES = (600, 2000)
COPIES, SUBJECTS = 6, 600
SET_COVERAGE = 0.9

Floats = NDArray[np.float64]
Thresholds = Mapping[str, float | None]
"""By the predicted class; None: nothing is promised of it, and nothing is answered."""


class Split(NamedTuple):
    """True and predicted classes and scores, (n,) each."""

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    scores: Floats

    def tables(self, labels: NDArray[np.int64]) -> dict[str, CalibrationTable]:
        right = self.true == self.predicted
        return {
            str(k): CalibrationTable.build(self.scores[labels == k], right[labels == k])
            for k in np.unique(labels)
        }

    def repeated(self, copies: int) -> Split:
        """Every sample so often."""
        true, predicted, scores = self
        return Split(np.repeat(true, copies), np.repeat(predicted, copies), np.repeat(scores, copies))


class Promises(NamedTuple):
    """Thresholds, and the classes whose risk and whose missed are promised."""

    thresholds: Thresholds
    risks: frozenset[str]
    missed: frozenset[str]


@dataclass(frozen=True)
class Population:
    """`shares[y, b]` of all inputs are of class y and predicted as b; `sureness[y, b]` is above 0."""

    name: str
    shares: Floats
    sureness: Floats

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self.shares))))

    def draw(self, n: int, rng: np.random.Generator) -> Split:
        cells = rng.choice(self.shares.size, n, p=self.shares.ravel())
        true, predicted = np.divmod(cells, len(self.shares))
        return Split(true, predicted, np.log(rng.random(n)) / self.sureness[true, predicted])

    def answered(self, promises: Promises) -> Floats:
        """The shares (K, K) of all inputs that are answered."""
        least = [promises.thresholds[label] for label in self.classes]
        bounds = np.array([0.0 if t is None else min(t, 0.0) for t in least])
        return np.asarray(self.shares * (1 - np.exp(bounds * self.sureness)))

    def is_false(self, promises: Promises) -> bool:
        """Whether a statement is false."""
        answered = self.answered(promises)
        wrong = answered * (1 - np.eye(len(answered)))
        risks = wrong.sum(0) > MAX_RISK * answered.sum(0) * (1 + 1e-12)
        missed = wrong.sum(1) > MAX_MISSED * self.shares.sum(1) * (1 + 1e-12)
        return any(risks[int(k)] for k in promises.risks) or any(missed[int(k)] for k in promises.missed)

    def coverage(self, promises: Promises) -> float:
        return float(self.answered(promises).sum())


def mixed(classes: tuple[float, ...], errors: float) -> Floats:
    """Shares of classes of which `errors` are wrong, evenly among the other classes."""
    k = len(classes)
    confusion = np.full((k, k), errors / (k - 1))
    np.fill_diagonal(confusion, 1 - errors)
    return np.asarray(np.array(classes)[:, None] * confusion)


def sureness(k: int, right: float, wrong: float) -> Floats:
    return np.where(np.eye(k, dtype=bool), right, wrong)


EVEN, RARE = (0.25,) * 4, (0.5, 0.3, 0.15, 0.05)
LIMIT = Population("at the limit", mixed(EVEN, 1.02 * MAX_RISK), sureness(4, 2, 2))
POPULATIONS = (
    Population("even classes", mixed(EVEN, 0.12), sureness(4, 8, 1)),
    Population("a rare class", mixed(RARE, 0.06), sureness(4, 8, 1)),
    Population("sure errors", mixed(EVEN, 0.08), sureness(4, 2, 6)),
    # The share of wrong answers is just above the limit at every threshold: the hardest to refuse.
    LIMIT,
)


def certified(split: Split, classes: tuple[str, ...]) -> Promises:
    selection = certify_classes(
        classes,
        split.tables(split.predicted),
        split.tables(split.true),
        max_risk=MAX_RISK,
        max_missed=MAX_MISSED,
        confidence=CONFIDENCE,
    )
    certified = [(p.statement, p.label) for p in selection.promises if p.threshold is not None]
    assert selection.class_thresholds is not None
    return Promises(
        selection.class_thresholds,
        frozenset(label for statement, label in certified if statement == "risk"),
        frozenset(label for statement, label in certified if statement == "missed"),
    )


def naive(split: Split, classes: tuple[str, ...]) -> Promises:
    """The lowest thresholds that keep the shares on the split itself."""
    demands = {}
    for label, table in split.tables(split.true).items():
        fits = np.flatnonzero(table.wrong <= MAX_MISSED * table.n)
        demands[label] = float(table.thresholds[fits[-1]]) if len(fits) else 0.0
    thresholds: dict[str, float | None] = dict.fromkeys(classes)
    for label, table in split.tables(split.predicted).items():
        above = table.from_threshold(max(t for other, t in demands.items() if other != label))
        fits = np.flatnonzero(above.wrong <= MAX_RISK * above.answered)
        thresholds[label] = float(above.thresholds[fits[-1]]) if len(fits) else None
    answered = frozenset(label for label, t in thresholds.items() if t is not None)
    return Promises(thresholds, answered, frozenset(demands))


METHODS: dict[str, Callable[[Split, tuple[str, ...]], Promises]] = {"certified": certified, "naive": naive}


def rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per population, size and method: how often a statement was false, with its bound, and mean coverage."""
    rng = np.random.default_rng(seed)
    for population in POPULATIONS:
        for n in SIZES:
            splits = [population.draw(n, rng) for _ in range(draws)]
            for name, method in METHODS.items():
                yield _row(population, f"{n} images", name, [method(s, population.classes) for s in splits])
    splits = [LIMIT.draw(SUBJECTS, rng) for _ in range(draws)]
    for name, copies in (("every image", COPIES), ("one per subject", 1)):
        promises = [certified(split.repeated(copies), LIMIT.classes) for split in splits]
        yield _row(LIMIT, f"{SUBJECTS} subjects of {COPIES}", name, promises)


def _row(population: Population, size: str, method: str, promises: list[Promises]) -> dict[str, object]:
    false, draws = sum(population.is_false(promise) for promise in promises), len(promises)
    _, high = clopper_pearson(false, draws, confidence=0.95)
    per_class = 2 * len(population.classes)
    return {
        "population": population.name,
        "size": size,
        "method": method,
        "violated": false / draws,
        "at most, 95 %": float(high),
        "promises": sum(len(p.risks) + len(p.missed) for p in promises) / (draws * per_class),
        "coverage": sum(map(population.coverage, promises)) / draws,
    }


# --- prediction sets --------------------------------------------------------------------------------------

SURENESS = (6.0, 3.0, 2.0, 1.0)
"""Of the true class, by class: log p is log(U) / sureness."""
SET_SIZES = (9, 20, 100, 300)
"""Calibration samples of one class."""


def set_rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per number of samples and class: the mean share of its new inputs whose set holds it, by its threshold
    alone; with a threshold for each class, and with one for all."""
    rng = np.random.default_rng(seed)
    for n in (60, 300):
        covered: dict[str, list[Floats]] = {"by class": [], "one for all": []}
        for _ in range(draws):
            labels = rng.choice(len(RARE), n, p=RARE)
            logs = np.log(rng.random(n)) / np.array(SURENESS)[labels]
            own = {str(k): -np.sort(-logs[labels == k]) for k in range(len(RARE))}
            for name, samples in (("by class", own), ("one for all", dict.fromkeys(own, -np.sort(-logs)))):
                lists = {label: values.tolist() for label, values in samples.items()}
                sets = PredictionSets.build(lists, {k: len(v) for k, v in lists.items()}, SET_COVERAGE)
                least = np.array([*sets.thresholds.values()])
                covered[name].append(1 - np.exp(least * np.array(SURENESS)))
        for name, shares in covered.items():
            for k, values in enumerate(np.stack(shares).T):
                yield {
                    "samples": n,
                    "thresholds": name,
                    "class": k,
                    "share": RARE[k],
                    "covered": float(values.mean()),
                    "error": float(values.std() / math.sqrt(draws)),
                }


def calibration_rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per number of samples of a class, how many calibrations cover less of it than the nominal share, and
    less than the lowest coverage that answers name."""
    rng = np.random.default_rng(seed)
    for n in SET_SIZES:
        covered, named = np.zeros(draws), math.nan
        for draw in range(draws):
            logs = np.sort(np.log(rng.random(n)))[::-1].tolist()
            sets = PredictionSets.build({"a": logs}, {"a": n}, SET_COVERAGE)
            assert sets.lowest is not None
            covered[draw], named = 1 - math.exp(sets.thresholds["a"]), sets.lowest.coverage
        below = float((covered < named).mean())
        yield {
            "samples of a class": n,
            "covered": float(covered.mean()),
            f"below {SET_COVERAGE:.0%}": float((covered < SET_COVERAGE).mean()),
            "may be as low as": named,
            "lower": below,
            "error": math.sqrt(below * (1 - below) / draws),
        }


def targets(figures: list[dict[str, object]], sets: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """No promise may be broken more often than agreed; every class must be covered, but for chance."""
    aims: dict[str, dict[str, object]] = {}
    delta = 1 - CONFIDENCE
    for row in figures:
        if row["method"] in ("certified", "one per subject"):
            share = float(str(row["violated"]))
            name = f"by_class/{row['population']}/{row['size']}/{row['method']}"
            aims[name] = {"value": share, "at_most": delta, "ok": share <= delta}
    for row in sets:
        if row["thresholds"] == "by class":
            low = float(str(row["covered"])) + 3 * float(str(row["error"]))
            aims[f"sets/{row['samples']}/class {row['class']}"] = {
                "value": row["covered"],
                "at_least": SET_COVERAGE,
                "ok": low >= SET_COVERAGE,
            }
    return aims


def calibration_targets(figures: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """The lowest coverage that is named may be missed in one of 20 calibrations, but for chance."""
    aims: dict[str, dict[str, object]] = {}
    for row in figures:
        low = float(str(row["lower"])) - 3 * float(str(row["error"]))
        name = f"sets/{row['samples of a class']} samples/below the lowest"
        aims[name] = {"value": row["lower"], "at_most": 0.05, "ok": low <= 0.05}
    return aims
