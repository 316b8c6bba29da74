"""How often the rule of models.leaning sees a shortcut that is not there, and what it can see.

    python -m benchmarks.leaning [--draws N]

Null settings: the model is equally accurate in all groups, in every slice of a class and on both
splits, or its own mask changes no more answers than the rule allows; the other kind of sign is there
for an innocent reason, so that one false sign is enough for "leans". Power settings: a group, a slice
or the test split is worse by 10 to 40 points, or the mask changes that much more.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks import _simulation
from models.evaluate import Metrics, Names, metrics
from models.leaning import MANY_CHANGES, Sign, of_groups, of_mask, of_shift, of_slices, read
from models.masking_cost import MaskedAnswers, masking_cost
from models.slices import ClassSlices, InferredSlice, InferredSlices, ModelAccuracy
from models.statistics import wilson

INNOCENT = {
    "failure": Sign("property", "cause", True, 1, "a property that is the task itself"),
    "cause": Sign("groups", "failure", True, 1, "a group that is hard for everybody"),
}
Draw = Callable[[np.random.Generator], list[Sign | None]]


class Setting(NamedTuple):
    """A named way to draw the signs of one evaluation; `effect` is the true gap in accuracy, 0: none."""

    name: str
    effect: float
    draw: Draw


def measured(rng: np.random.Generator, sizes: tuple[int, ...], accuracies: tuple[float, ...]) -> Metrics:
    """Metrics of one class with a group of each size and accuracy."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    right = rng.random(len(groups)) < np.repeat(accuracies, sizes)
    names = Names(("a",), tuple(f"group {i}" for i in range(len(sizes))))
    return metrics(np.zeros(len(groups), np.int64), np.where(right, 0, 1), groups=groups, names=names)


def grouped(sizes: tuple[int, ...], accuracy: float, effect: float = 0.0) -> Draw:
    """The last group is worse by `effect`."""
    accuracies = (*(accuracy,) * (len(sizes) - 1), accuracy - effect)
    return lambda rng: [of_groups(measured(rng, sizes, accuracies), split="test")]


def moved(n_validation: int, n_test: int, accuracy: float, effect: float = 0.0) -> Draw:
    """The test split is worse by `effect`."""

    def draw(rng: np.random.Generator) -> list[Sign | None]:
        return [
            of_shift(
                measured(rng, (n_validation,), (accuracy,)), measured(rng, (n_test,), (accuracy - effect,))
            )
        ]

    return draw


def sliced(classes: int, sizes: tuple[int, ...], accuracy: float, effect: float = 0.0) -> Draw:
    """Every class cut alike; the last slice of the first class is worse by `effect`."""

    def draw(rng: np.random.Generator) -> list[Sign | None]:
        found = []
        for label in range(classes):
            for index, n in enumerate(sizes):
                worse = effect if (label, index) == (0, len(sizes) - 1) else 0.0
                correct = int(rng.binomial(n, accuracy - worse))
                said = ModelAccuracy("erm", n, correct, correct / n, *wilson(correct, n))
                found.append(InferredSlice(label, str(label), index, n, n / sum(sizes), (), [], (said,)))
        told = tuple(
            ClassSlices(label, str(label), sum(sizes), 0, len(sizes), None, None, None)
            for label in range(classes)
        )
        return [of_slices(InferredSlices(True, "", told, tuple(found)), model="erm")]

    return draw


def masked(n: int, elsewhere: float, beyond: float) -> Draw:
    """The model's own mask changes `beyond` more of the answers than the same mask elsewhere."""

    def draw(rng: np.random.Generator) -> list[Sign | None]:
        labels = np.zeros(n, np.int64)
        own, other = (np.where(rng.random(n) < share, 1, 0) for share in (elsewhere + beyond, elsewhere))
        answers = MaskedAnswers(np.arange(n), labels, np.full(n, 0.05), labels, own, other, other)
        return [of_mask(masking_cost(answers, generator=rng), split="test")]

    return draw


def together(*draws: Draw) -> Draw:
    """All signs of one report at once."""
    return lambda rng: [sign for draw in draws for sign in draw(rng)]


def null_settings() -> list[Setting]:
    found = []
    for accuracy in (0.7, 0.9, 0.97):
        for sizes in ((500, 500), (2255, 2255, 642, 642), (200,) * 10, (30,) * 20):
            found.append(
                Setting(f"{len(sizes)} groups of {min(sizes)}, {accuracy}", 0, grouped(sizes, accuracy))
            )
        for classes, parts in (
            (2, (100, 100)),
            (2, (60, 40, 30, 20)),
            (10, (50, 50)),
            (10, (40, 30, 20, 20)),
        ):
            name = f"{classes} classes of {len(parts)} slices, {accuracy}"
            found.append(Setting(name, 0, sliced(classes, parts, accuracy)))
        found.append(Setting(f"validation 300, test 1,000, {accuracy}", 0, moved(300, 1000, accuracy)))
        everything = together(
            grouped((200,) * 4, accuracy), sliced(10, (40, 30, 20, 20), accuracy), moved(300, 800, accuracy)
        )
        found.append(Setting(f"groups, slices and test, {accuracy}", 0, everything))
    for n in (50, 200, 1000):
        found.append(Setting(f"mask on {n}, nothing beyond", 0, masked(n, 0.1, 0.0)))
        found.append(Setting(f"mask on {n}, just the rule's share", 0, masked(n, 0.1, MANY_CHANGES)))
    return found


def power_settings() -> list[Setting]:
    found = []
    for effect in (0.1, 0.2, 0.4):
        found.append(Setting("4 groups of 100", effect, grouped((100,) * 4, 0.95, effect)))
        found.append(Setting("10 classes of 2 slices of 50", effect, sliced(10, (50, 50), 0.95, effect)))
        found.append(Setting("validation 300, test 1,000", effect, moved(300, 1000, 0.95, effect)))
        found.append(Setting("mask on 200", effect, masked(200, 0.05, MANY_CHANGES + effect)))
    return found


def seen(setting: Setting, draws: int, rng: np.random.Generator) -> float:
    """The share of draws that are read as "leans"."""
    leans = 0
    for _ in range(draws):
        signs = [sign for sign in setting.draw(rng) if sign is not None]
        leans += read([*signs, INNOCENT[signs[0].kind]]).reading == "leans"
    return leans / draws


def main() -> int:
    assert __doc__ is not None
    arguments = _simulation.arguments(__doc__.splitlines()[0])
    rng = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    print(f"{'setting':44} {'true gap':>8} {'leans':>7}")
    figures, worst = [], 0.0
    for setting in null_settings() + power_settings():
        share = seen(setting, arguments.draws, rng)
        print(f"{setting.name:44} {setting.effect:8.2f} {share:7.3f}", flush=True)
        figures.append({"setting": setting.name, "effect": setting.effect, "leans": share})
        if setting.effect == 0:
            worst = max(worst, share)
    return _simulation.finish(
        "leaning",
        worst=worst,
        draws=arguments.draws,
        figures=figures,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    sys.exit(main())
